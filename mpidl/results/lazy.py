"""Columns of a table that are read when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from mpidl.errors import ResultsError
from mpidl.results import checked
from mpidl.results.checked import Group
from mpidl.results.names import SCALES

NUMBERS, WHOLE = "fiu", "iu"
"""Kinds of numbers, as numpy calls them."""

# Of a record, what a run has counted or timed: a loss that diverges may be anything, these may not.
_COUNTED = (*SCALES, "bytes_sent")


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
        place = f"/{self._table}/{name}"
        if column.dtype.itemsize > 8:
            raise ValueError(f"{place} has longer numbers than any run writes")
        if self._table == "timing":
            _refuse_uncounted(place, column, sparse=True)
        elif name == "round":
            refuse_other_rounds(place, column)
        elif self._table == "metrics" and name in _COUNTED:
            _refuse_uncounted(place, column, sparse=name not in SCALES)
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def refuse_other_rounds(column: str, rounds: np.ndarray) -> None:
    """Raises about rounds that no run has gone through one after another."""
    if len(rounds) and (rounds[0] < 0 or not (rounds[1:] > rounds[:-1]).all()):
        raise ValueError(f"{column} has rounds below zero, or that do not rise")


def _refuse_uncounted(column: str, values: np.ndarray, sparse: bool) -> None:
    """Raises about what no clock and no counter shows.

    NaN stands for what was not measured: in a sparse column for any value, in another for all or none.
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return
    least, most = known.min(), known.max()
    if least < 0 or np.isinf(most):
        raise ValueError(f"{column} has {least if least < 0 else most:g}, which no clock or counter shows")
    if not sparse and known.size < values.size:
        raise ValueError(f"{column} lacks values of some records, and a run records it in each")
