"""The gate through which all of a run file is read: what it holds is checked before it is read.

A file can claim anything: rows that it does not hold, data in other files, groups inside themselves, texts where
numbers belong. Whatever is handed out here lies in the file itself, is of the kind that was asked for, and is no larger
than the file explains. ValueError for anything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mpidl.errors import ResultsError, quoted
from mpidl.files import DEFLATE_RATIO
from mpidl.results import apart
from mpidl.results.storage import is_hdf5, open_file, system_words

if TYPE_CHECKING:
    import h5py

_MOST_NAMES = 10_000
_MOST_ITEMS = 1_000_000
# Seconds since 1970 of the year 9999, the last that a date can have.
_LAST_MOMENT = 253_370_764_800

Result = TypeVar("Result")


def read(path: Path, take: Callable[[Group], Result], kind: str = "run file") -> Result:
    """What `take` returns of a file's root; ResultsError, of one sentence, about a file that is not as it expects."""
    _refuse(path, kind)
    return apart.call(path, lambda: _take(path, take, kind))


def read_each(
    paths: Sequence[Path], take: Callable[[Path], Callable[[Group], Result]], kind: str = "run file"
) -> Iterator[Result | ResultsError]:
    """The same of each of many files, in their order; in the place of one that cannot be read stands the error.

    `take` is asked for what takes a file's root before that file is opened.
    """

    def read(path: Path) -> Result:
        _refuse(path, kind)
        return _take(path, take(path), kind)

    for answer in apart.call_each([(path, partial(read, path)) for path in paths]):
        if isinstance(answer, Exception) and not isinstance(answer, ResultsError):
            raise answer
        yield answer


def read_all(folder: Path, names: Sequence[str], take: Callable[[Group], Result], kind: str) -> list[Result]:
    """The same of several files in a folder, one after another."""
    paths = [folder / name for name in names]
    for path in paths:
        _refuse(path, kind)
    size = sum(path.stat().st_size for path in paths)
    return apart.call(folder, lambda: [_take(path, take, kind) for path in paths], size)


def _refuse(path: Path, kind: str) -> None:
    """Raises about what is no HDF5 file at all."""
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no regular file" if path.exists() else "not there"
            inside = sorted(path.glob("*.h5"))[:1] if path.is_dir() else []
            example = f"such as {inside[0]}" if inside else "(*.h5)"
            raise ResultsError(f"{str(path)!r} is {what}; give a {kind} {example}")
        if not is_hdf5(path):
            raise ResultsError(f"{str(path)!r} is not an HDF5 file; give a {kind} (*.h5)")
    except ResultsError:
        raise
    except OSError as error:
        raise ResultsError(f"{str(path)!r} cannot be read: {error.strerror}") from error


def is_run_file(path: Path) -> bool:
    """Whether it is an HDF5 file that says which schema of run files it has."""
    return is_marked(path, "schema_version")


def is_marked(path: Path, mark: str) -> bool:
    """Whether it is an HDF5 file with this attribute."""
    try:
        return read(path, lambda root: mark in root.attribute_names)
    except ResultsError:
        return False


def _take(path: Path, take: Callable[[Group], Result], kind: str) -> Result:
    try:
        with open_file(path, "r") as file:
            return take(Group(file, path.stat().st_size))
    except ResultsError:
        raise
    except OSError as error:
        raise ResultsError(f"{str(path)!r} cannot be read: {system_words(error)}") from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, SystemError, TypeError, ValueError) as error:
        # Whatever h5py says of a file that HDF5 did not write, or that is none of ours.
        raise ResultsError(f"{str(path)!r} is damaged, or no {kind} of mpidl: {system_words(error)}") from error


class Group:
    """A group of a file of `size` bytes."""

    def __init__(self, group: h5py.Group, size: int) -> None:
        self._group, self._size = group, size
        # What has been opened: h5py takes its time for that.
        self._opened: dict[str, Any] = {}
        self._groups: dict[str, Group] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """What it holds."""
        return self._few(self._group)

    def __contains__(self, name: str) -> bool:
        return name in self._group

    def group(self, name: str) -> Group:
        """A group in it."""
        import h5py

        item = self._item(name, h5py.Group)
        return self._groups.setdefault(name, Group(item, self._size))

    def shape(self, name: str, kinds: str, sparse: bool = False) -> tuple[int, ...]:
        """The shape of an array of these kinds of numbers, or of fixed texts, which the file holds.

        Of a sparse one it holds a part at least: rows that were never written cost nothing.
        """
        return self._array(name, kinds, sparse).shape

    def array(self, name: str, kinds: str, rows: int | None = None, sparse: bool = False) -> np.ndarray:
        """An array of these kinds, or its first so many rows, if it has as many."""
        array = self._array(name, kinds, sparse)
        if rows is not None and len(array) < rows:
            raise ValueError(f"{array.name} has {len(array)} rows, not {rows}")
        return array[()] if rows is None else array[:rows]

    def offset(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> int:
        """Where in the file an array of this shape and type begins that lies there as in memory; 0 of an empty one."""
        item = self._array(name, "biuf")
        if item.shape != shape or item.dtype != dtype or item.chunks is not None:
            raise ValueError(f"{self._path(name)} is no array {list(shape)} of {dtype} in one piece")
        size, begin = math.prod(shape) * dtype.itemsize, item.id.get_offset() or 0
        if begin + size > self._size or (size and not begin):
            raise ValueError(f"{self._path(name)} does not lie in the file")
        return begin

    def elsewhere(self, name: str) -> tuple[tuple[int, ...], Group]:
        """Of an array that lies in other files, and is not read here: its shape, and what is said of it."""
        import h5py

        item = self._item(name, h5py.Dataset)
        if not item.is_virtual or item.shape is None:
            raise ValueError(f"{self._path(name)} does not lie in other files")
        return item.shape, Group(item, self._size)

    def row(self, name: str, *place: int, kinds: str = "fiu") -> Any:
        """One row of an array of numbers, or of fixed texts."""
        return self._array(name, kinds)[place]

    def text(self, name: str) -> str:
        """A text that is stored alone."""
        import h5py

        item = self._item(name, h5py.Dataset)
        if item.shape != () or h5py.check_string_dtype(item.dtype) is None:
            raise ValueError(f"{item.name} is no text")
        self._refuse_elsewhere(item)
        return _plain(item[()])

    def check_column(self, name: str, most: int, least: int = 1) -> None:
        """Refuses what is no array of numbers in so many dimensions."""
        if not least <= len(self.shape(name, "fiu", sparse=True)) <= most:
            raise ValueError(f"{self._path(name)} is no column of numbers")

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """What is said of it."""
        return self._few(self._group.attrs)

    def attributes(self) -> dict[str, Any]:
        """All attributes, as plain numbers, texts, and lists of them."""
        return {name: self.attribute(name) for name in self.attribute_names}

    def attribute(self, name: str) -> Any:
        """An attribute as a plain number, a text, or a list of them."""
        import h5py

        kind = self._group.attrs.get_id(name)
        if kind.dtype.kind not in "biufSU" and h5py.check_string_dtype(kind.dtype) is None:
            raise ValueError(f"its {name!r} is no number and no text")
        if kind.shape is None or math.prod(kind.shape) > _MOST_ITEMS:
            raise ValueError(f"its {name!r} has no value that could be read")
        return _plain(self._group.attrs[name])

    def word(self, name: str) -> str:
        """An attribute that is a text."""
        value = self.attribute(name)
        if not isinstance(value, str):
            raise ValueError(f"its {name!r} is no text")
        return value

    def count(self, name: str) -> int:
        """An attribute that counts something."""
        value = self.attribute(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"its {name!r} is {quoted(value)}, which counts nothing")
        return value

    def time(self, name: str) -> str:
        """An attribute that is a time with its zone."""
        value = self.word(name)
        if datetime.fromisoformat(value).tzinfo is None:
            raise ValueError(f"its {name!r} is a time without a zone")
        return value

    def of_column(self, name: str, attribute: str) -> str:
        """A text that belongs to an array; empty where there is none."""
        about = self.about(name)
        return about.word(attribute) if attribute in about.attribute_names else ""

    def about(self, name: str) -> Group:
        """What is said of an array, by its attributes."""
        import h5py

        return Group(self._item(name, h5py.Dataset), self._size)

    def _few(self, names: Any) -> tuple[str, ...]:
        if len(names) > _MOST_NAMES:
            raise ValueError(f"{self._group.name} has {len(names)} parts")
        found = tuple(names)
        # What is no UTF-8 is given as bytes.
        if not all(isinstance(name, str) for name in found):
            raise ValueError(f"{self._group.name} has a part whose name is no text")
        return found

    def _item(self, name: str, kind: type) -> Any:
        import h5py

        if name not in self._opened:
            if name not in self._group:
                raise ValueError(f"{self._path(name)} is missing")
            if not isinstance(self._group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{self._path(name)} is a link to elsewhere")
            self._opened[name] = self._group[name]
        item = self._opened[name]
        if not isinstance(item, kind):
            raise ValueError(f"{self._path(name)} is no {'group' if kind is h5py.Group else 'array'}")
        return item

    def _path(self, name: str) -> str:
        return f"{(self._group.name or '').rstrip('/')}/{name}"

    def _array(self, name: str, kinds: str, sparse: bool = False) -> h5py.Dataset:
        import h5py

        item = self._item(name, h5py.Dataset)
        if item.shape is None or item.dtype.kind not in kinds or item.dtype.subdtype:
            raise ValueError(f"{self._path(name)} is no {'column of numbers' if 'f' in kinds else 'array of its kind'}")
        self._refuse_elsewhere(item)
        stored = item.id.get_storage_size()
        room = stored * (DEFLATE_RATIO if item.id.get_create_plist().get_nfilters() else 1)
        claimed = math.prod(item.shape) * item.dtype.itemsize
        chunk = math.prod(item.chunks) * item.dtype.itemsize if item.chunks and claimed else 0
        least = chunk if sparse else max(claimed, chunk)
        if stored > self._size or least > room:
            raise ValueError(f"{self._path(name)} claims {least} bytes, and {stored} are stored")
        return item

    def _refuse_elsewhere(self, item: h5py.Dataset) -> None:
        if item.is_virtual or item.external:
            raise ValueError(f"{item.name} lies in other files, which are not read")


def moments(times: np.ndarray) -> list[float]:
    """Seconds since 1970, each of which is a date."""
    if not ((times >= 0) & (times < _LAST_MOMENT)).all():
        raise ValueError("an event has a time that is no date")
    return times.tolist()


def _plain(value: Any) -> Any:
    """What h5py returns, as plain Python."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value.item() if isinstance(value, np.generic) else value
