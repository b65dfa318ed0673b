"""Columns of a table that are read when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from mpidl.errors import ResultsError
from mpidl.results import checked
from mpidl.results.checked import Group

NUMBERS, WHOLE = "fiu", "iu"
"""Kinds of numbers, as numpy calls them."""


class Columns(Mapping[str, np.ndarray]):
    """The columns of one table by name, each read from the file when it is first asked for."""

    def __init__(self, path: Path, table: str, rows: int, names: tuple[str, ...], dimensions: int = 2) -> None:
        self._path = path
        self._table = table
        self._rows = rows
        self._names = names
        self._dimensions = dimensions
        self._read: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            self._read[name] = checked.read(self._path, lambda root: self._column(root, name))
        return self._read[name]

    def load(self, root: Group, most: int, names: Iterable[str] | None = None) -> int:
        """Reads columns of an open file, as far as they have so many bytes in all; returns how many those have left."""
        for name in self._names if names is None else names:
            size = 8 * math.prod(root.group(self._table).shape(name, NUMBERS, sparse=True))
            if size <= most:
                self._read[name] = self._column(root, name)
                most -= size
        return most

    def _column(self, root: Group, name: str) -> np.ndarray:
        group = root.group(self._table)
        if group.count("records") < self._rows:
            raise ResultsError(f"{str(self._path)!r} was cut back while it was read; read it again")
        column = group.array(name, NUMBERS, self._rows, sparse=True)
        if not 1 <= column.ndim <= self._dimensions:
            raise ValueError(f"/{self._table}/{name} is no column of numbers")
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
