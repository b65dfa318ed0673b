"""Examples in an HDF5 file, which may be larger than memory: mapped where they lie in one piece, else read by rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from mpidl.data.checks import is_numeric
from mpidl.data.dataset import Dataset, Task
from mpidl.data.formats.files import find_file
from mpidl.data.formats.npz import named_dataset
from mpidl.data.source import Images
from mpidl.errors import DataError
from mpidl.files import DEFLATE_RATIO

if TYPE_CHECKING:
    import h5py

# Room for whole chunks, of which several rows are read one after another.
_CHUNK_CACHE = 2**26


class FileRows:
    """Rows of one data set of a file, read when taken; the file is opened at the first need and stays open."""

    portable = True

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path, self.name, self.shape, self.dtype = path, name, shape, dtype
        self.ndim = len(shape)
        self._rows: h5py.Dataset | None = None

    def take(self, indices: np.ndarray) -> np.ndarray:
        """The rows of these indices, in this order; each is read once, and no other."""
        ascending, back = np.unique(indices, return_inverse=True)
        content = np.empty((len(ascending), *self.shape[1:]), dtype=self.dtype)
        breaks = np.flatnonzero(np.diff(ascending) != 1) + 1
        starts, stops = [0, *breaks], [*breaks, len(ascending)]
        try:
            rows = self._open()
            for start, stop in zip(starts, stops, strict=True):
                if stop > start:
                    where = slice(int(ascending[start]), int(ascending[stop - 1]) + 1)
                    rows.read_direct(content, np.s_[where], np.s_[start:stop])
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise DataError(f"{self.path}, {self.name!r}: rows cannot be read ({error})") from error
        return content if np.array_equal(back, np.arange(len(back))) else content[back]

    def _open(self) -> h5py.Dataset:
        if self._rows is None:
            import h5py

            self._rows = h5py.File(self.path, "r", locking="best-effort", rdcc_nbytes=_CHUNK_CACHE)[self.name]
        return self._rows

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rows": None}


class Hdf5(Images):
    """Data sets `x`, `y`, `x_test`, `y_test` in an HDF5 file, perhaps `owner`, and `mean` and `std` of the channels.

    Rows stay in the file until they are used (`data.stream`, and `data.place: own` for a rank to read only what its
    agents own). Bytes are taken for pixels, 0 to 255, and brought to [0, 1].
    """

    file: str = Field(description="the HDF5 file")
    task: Task = Field("classification", description="what y is")
    classes: int | None = Field(None, ge=1, description="classes or vocabulary; null: the highest number and 1")

    def load(self) -> Dataset:
        import h5py

        path = find_file(self.root, self.file, "file")
        try:
            with h5py.File(path, "r", locking="best-effort") as file:
                names = ("x", "y", "x_test", "y_test")
                arrays = {name: _rows(file, name, path) for name in names if name in file}
                arrays |= {name: _small(file, name, path) for name in ("owner", "mean", "std") if name in file}
        except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path} is no HDF5 file, or damaged ({error})") from error
        return named_dataset(arrays, path, self.task, self.classes, self.normalise)


def _checked(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """A data set of numbers that the file really holds."""
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise DataError(f"{path}: {name!r} is not a data set of this file")
    rows = file[name]
    if rows.is_virtual or rows.external:
        raise DataError(f"{path}: {name!r} lies in other files, which are not read")
    if rows.shape is None or not is_numeric(rows.dtype) or rows.ndim == 0:
        raise DataError(f"{path}: {name!r} is no array of numbers")
    stored = rows.id.get_storage_size()
    size = math.prod(rows.shape) * rows.dtype.itemsize
    if size > stored * (DEFLATE_RATIO if rows.id.get_create_plist().get_nfilters() else 1):
        raise DataError(f"{path}: {name!r} claims {size} bytes, and {stored} are stored")
    return rows


def _rows(file: h5py.File, name: str, path: Path) -> np.ndarray | FileRows:
    rows = _checked(file, name, path)
    offset = rows.id.get_offset()
    if offset is not None and rows.size and rows.dtype.isnative:
        if offset + rows.nbytes > path.stat().st_size:
            raise DataError(f"{path}: {name!r} ends behind the end of the file")
        return np.memmap(path, rows.dtype, "r", offset, rows.shape)
    return FileRows(path, name, rows.shape, rows.dtype)


def _small(file: h5py.File, name: str, path: Path) -> np.ndarray:
    return _checked(file, name, path)[...]
