"""Tables in an HDF5 file: datasets that share their first axis, and an attribute that says how many rows count.

Every dataset is stored in chunks of many rows that are allocated whole. As long as new rows lie in allocated chunks,
writing them changes numbers in place and nothing of the file's structure: see `run_file`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mpidl.metrics import Metric

if TYPE_CHECKING:
    import h5py

# A chunk is allocated whole, so wide rows get fewer of them; HDF5 itself stops at 4 GiB.
_CHUNK_BYTES = 4 * 2**20

Columns = Mapping[str, np.ndarray]


class Table:
    """One table of an open file; `room` is how many rows a chunk holds, `known` what its columns are."""

    def __init__(self, group: h5py.Group, room: int, known: Mapping[str, Metric] | None = None) -> None:
        self.group = group
        self.datasets: dict[str, h5py.Dataset] = dict(group.items())
        self._room = room
        self._known = known

    @staticmethod
    def create(file: h5py.File, name: str) -> h5py.Group:
        """An empty table."""
        group = file.create_group(name)
        group.attrs["records"] = np.int64(0)
        return group

    @property
    def committed(self) -> int:
        """How many rows count."""
        return int(self.group.attrs["records"])

    def commit(self, rows: int) -> None:
        """Makes this many rows count; the attribute is overwritten in place."""
        self.group.attrs.modify("records", np.int64(rows))

    def fits(self, start: int, count: int, columns: Columns) -> bool:
        """Whether `count` rows from `start` on can be written without changing the structure of the file."""
        if not count:
            return True
        if any(name not in self.datasets or not _holds(self.datasets[name], columns[name]) for name in columns):
            return False
        return all(start + count <= _allocated(dataset) for dataset in self.datasets.values())

    def write(self, start: int, count: int, columns: Columns) -> list[str]:
        """Writes `count` rows from `start` on, without committing them; returns the columns that are new.

        A column that is not given gets its fill value in these rows; a new one gets it in all rows before.
        """
        if not count:
            return []
        new = [name for name in columns if name not in self.datasets]
        for name in new:
            self._add(name, start, columns[name].shape[1:], columns[name].dtype, self._room)
            if self._known is not None:
                metric = self._known.get(name, Metric(name, "", ""))
                self.datasets[name].attrs.update(units=metric.units, description=metric.description)
        for name in self.datasets:
            column = columns.get(name)
            if column is not None and not _holds(self.datasets[name], column):
                self._widen(name, column)
            dataset = self.datasets[name]
            dataset.id.set_extent((start + count, *dataset.shape[1:]))
            dataset[start:] = dataset.fillvalue if column is None else _padded(column, dataset)
        return new

    def cut(self, rows: int) -> None:
        """Drops the rows beyond this many, committed or not."""
        self.commit(rows)
        for dataset in self.datasets.values():
            dataset.resize(rows, axis=0)

    def _widen(self, name: str, column: np.ndarray) -> None:
        """Makes room for longer text, or for more ranks than before."""
        old = self.datasets[name]
        tail = tuple(np.maximum(old.shape[1:], column.shape[1:]).tolist())
        values, attributes, room = old[()], dict(old.attrs), old.chunks[0]
        dtype = max(old.dtype, column.dtype, key=lambda dtype: dtype.itemsize)
        del self.group[name]
        self._add(name, len(values), tail, dtype, room)
        wider = self.datasets[name]
        wider[()] = _padded(values, wider)
        wider.attrs.update(attributes)

    def _add(self, name: str, rows: int, tail: tuple[int, ...], dtype: np.dtype, room: int) -> None:
        import h5py

        text = dtype.kind == "S"
        row_bytes = dtype.itemsize * int(np.prod(tail, dtype=int))
        self.datasets[name] = self.group.create_dataset(
            name,
            shape=(rows, *tail),
            maxshape=(None, *tail),
            chunks=(max(1, min(room, _CHUNK_BYTES // max(1, row_bytes))), *tail),
            dtype=h5py.string_dtype("utf-8", dtype.itemsize) if text else dtype,
            fillvalue=b"" if text else (-1 if dtype.kind == "i" else np.nan),
        )


def _allocated(dataset: h5py.Dataset) -> int:
    """How many rows the chunks that have been begun hold."""
    rows = dataset.chunks[0]
    return -(-len(dataset) // rows) * rows


def _holds(dataset: h5py.Dataset, column: np.ndarray) -> bool:
    narrower = all(mine <= its for mine, its in zip(column.shape[1:], dataset.shape[1:], strict=True))
    return narrower and column.dtype.itemsize <= dataset.dtype.itemsize


def _padded(column: np.ndarray, dataset: h5py.Dataset) -> np.ndarray:
    """The column in the dataset's own type and width; HDF5 itself does not turn plain bytes into UTF-8 text."""
    if column.shape[1:] == dataset.shape[1:] and column.dtype.kind != "S":
        return column
    whole = np.full((len(column), *dataset.shape[1:]), dataset.fillvalue, dtype=dataset.dtype)
    whole[tuple(slice(size) for size in column.shape)] = column
    return whole
