"""The data of runs that follow each other: loaded once where they are the same, and still are what was loaded."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpidl.data.dataset import Dataset
    from mpidl.data.source import Source

# Of a data set that comes with mpidl, what its examples do not depend on.
_NOT_OF_EXAMPLES = {"batch", "validation", "place", "stream", "split", "crop", "flip"}


def _loaded(source: Source, held: Dataset | None) -> Dataset:
    return source.load() if held is None else held


class LastDataset:
    """The data set that was asked for last. `load` makes one, or keeps the one that it is given."""

    def __init__(self, load: Callable[[Source, Dataset | None], Dataset] = _loaded) -> None:
        self._load = load
        self._key, self._content = "", 0
        self._dataset: Dataset | None = None

    def of(self, source: Source) -> Dataset:
        """The data set of this section of a configuration; a collective call where `load` is one."""
        # What a user's own function makes may depend on every key that it names.
        own = ":" in source.name
        key = json.dumps(source.model_dump(mode="json", exclude=None if own else _NOT_OF_EXAMPLES))
        held = self._dataset
        if held is not None and (key != self._key or _content(held) != self._content):
            held = None
        # One at a time.
        self._dataset = None
        dataset = self._load(source, held)
        if held is None:
            self._content = _content(dataset)
        self._key, self._dataset = key, dataset
        return dataset


def _content(dataset: Dataset) -> int:
    """A checksum of all that is in memory: a network of a user's may have written into what it was given."""
    from mpidl.data.checks import in_memory, pieces

    total = 0
    for rows in (dataset.x, dataset.y, dataset.x_test, dataset.y_test):
        if in_memory(rows):
            for _, piece in pieces(rows):
                total = zlib.crc32(np.ascontiguousarray(piece).data, total)
    return total
