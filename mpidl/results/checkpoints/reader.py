"""Reading a checkpoint: whatever its files claim, nothing of them is run, and no more is read than they hold.

The index and the structure of each file are read in a process of their own (`mpidl.results.checked`). Numbers are then
read from where they were found to lie, without HDF5, so many at a time.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import FileIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mpidl.declarations import Kind
from mpidl.errors import ResultsError
from mpidl.files import open_regular
from mpidl.files import read as read_file
from mpidl.results import checked
from mpidl.results.checkpoints.folder import part_name
from mpidl.results.checkpoints.index import INDEX, INDEX_SUM, Facts, stored_as
from mpidl.results.checkpoints.parts import MARK, SCHEMA, FileFacts, checksum, key_of

# Read at a time.
_BYTES = 2**26
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}
_MOST_FILES = 100_000
_KIND = "file of a checkpoint"


@dataclass(frozen=True)
class SavedState:
    """One state of a checkpoint: `count` items of this shape and dtype out of `total`."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: torch.dtype
    count: int
    total: int
    lazy: bool
    edges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class _Place:
    """Where the items of a state lie in a rank's file."""

    ids: np.ndarray
    offset: int


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint, whose index is whole; of its files `damaged` tells."""

    path: Path
    facts: Facts
    created: str
    states: dict[str, SavedState]
    files: tuple[FileFacts, ...]
    _places: list[dict[str, _Place]] = field(default_factory=list, repr=False)

    @property
    def nbytes(self) -> int:
        """Of all files of ranks."""
        return sum(each.size for each in self.files)

    def damaged(self, number: int) -> str | None:
        """What is wrong with the file of this number, in words; every byte of it is read."""
        listed = self.files[number]
        path = self.path / listed.name
        try:
            size = path.lstat().st_size
            if size != listed.size:
                return f"{listed.name} has {size} bytes, not {listed.size}"
            return None if checksum(path) == listed else f"{listed.name} does not have its checksum"
        except FileNotFoundError:
            return f"{listed.name} is missing"
        except OSError as error:
            return f"{listed.name} cannot be read ({error.strerror})"

    def verify(self) -> None:
        """Raises ResultsError unless all files are as they were written."""
        for number in range(len(self.files)):
            wrong = self.damaged(number)
            if wrong:
                raise ResultsError(f"the checkpoint {str(self.path)!r} is damaged: {wrong}")

    def ids(self, name: str, number: int) -> np.ndarray:
        """The items of a state in the file of this number."""
        return self._in_file(number)[name].ids

    def read(self, name: str, number: int, places: Sequence[int]) -> Iterator[tuple[list[int], Tensor]]:
        """Items of a state at these places in a file, ascending: their ids and values [n, *shape], a few at a time."""
        state, place = self.states[name], self._in_file(number)[name]
        item = math.prod(state.shape) * state.dtype.itemsize
        at_once = max(1, _BYTES // max(1, item))
        with FileIO(open_regular(self.path / self.files[number].name, os.O_RDONLY | os.O_NOFOLLOW)) as file:
            for first, count in _stretches(places, at_once):
                values = torch.empty((count, *state.shape), dtype=state.dtype)
                memory = values.view(stored_as(state.dtype)).numpy().reshape(-1).view(np.uint8).data
                file.seek(place.offset + first * item)
                while memory:
                    read = file.readinto(memory)
                    if not read:
                        raise ResultsError(f"{str(self.path / self.files[number].name)!r} was cut while it was read")
                    memory = memory[read:]
                yield place.ids[first : first + count].tolist(), values

    def _in_file(self, number: int) -> dict[str, _Place]:
        if not self._places:
            names = [each.name for each in self.files]
            for name in names:
                _refuse_link(self.path / name)
            take = partial(_places, states=tuple(self.states.values()))
            self._places.extend(checked.read_all(self.path, names, take, _KIND))
        return self._places[number]


def open(path: Path) -> Checkpoint:
    """The checkpoint in this folder; ResultsError where there is none, or where its index is not what was written."""
    for name in (INDEX, INDEX_SUM):
        _refuse_link(path / name)
    try:
        told = read_file(path / INDEX_SUM, 1000).decode("ascii", "replace").split()
        found = checksum(path / INDEX).sha256
    except OSError as error:
        raise ResultsError(f"the checkpoint {str(path)!r} cannot be read: {error.strerror}") from error
    if told != [found, INDEX]:
        raise ResultsError(f"the checkpoint {str(path)!r} is damaged: {INDEX} does not have its checksum")
    return checked.read(path / INDEX, partial(_index, path), _KIND)


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise ResultsError(f"{str(path)!r} is a link, which is not followed")


def _texts(name: str, told: str) -> dict[str, str]:
    found = json.loads(told)
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError(f"its {name} are no names and texts")
    return found


def _index(path: Path, root: checked.Group) -> Checkpoint:
    if MARK not in root.attribute_names:
        raise ResultsError(f"{str(path)!r} holds no checkpoint of mpidl")
    schema = root.count(MARK)
    if schema > SCHEMA:
        raise ResultsError(
            f"the checkpoint {str(path)!r} has schema {schema}, this mpidl reads up to {SCHEMA}: update mpidl"
        )
    versions = _texts("versions", root.word("versions"))
    data = _texts("data", root.text("data")) if "data" in root.names else {}
    seconds = root.attribute("seconds")
    if not isinstance(seconds, float) or not 0 <= seconds < math.inf:
        raise ValueError("its seconds are no duration")
    agents = root.count("agents")
    gone = tuple(root.array("gone", "iu").ravel().tolist()) if "gone" in root.names else ()
    if list(gone) != sorted(set(gone)) or len(gone) >= max(agents, 1) or not all(0 <= each < agents for each in gone):
        raise ValueError("the agents that it is without are none of its agents")
    facts = Facts(
        *(root.count("round"), root.count("rounds"), seconds, agents, root.text("config")), versions, data, gone
    )
    listed = root.group("files")
    names, sums = (listed.array(name, "S").tolist() for name in ("name", "sha256"))
    sizes = listed.array("size", "iu").tolist()
    if not len(names) == len(sums) == len(sizes) == root.count("ranks") <= _MOST_FILES:
        raise ValueError("its list of files is not one for each rank")
    files = tuple(FileFacts(n.decode(), s, d.decode()) for n, s, d in zip(names, sizes, sums, strict=True))
    if [each.name for each in files] != [part_name(rank) for rank in range(len(files))]:
        raise ValueError("it lists other files than those of its ranks")
    found = [_state(root, key, len(gone)) for key in root.group("state").names]
    return Checkpoint(path, facts, root.word("created"), {state.name: state for state in found}, files)


def _state(root: checked.Group, key: str, gone: int) -> SavedState:
    whole, about = root.group("state").elsewhere(key)
    kind = Kind(about.word("kind"))
    lazy, total = about.attribute("lazy"), about.count("total")
    single = kind is Kind.SERVER
    shape = whole if single else whole[1:]
    count = 1 if single else whole[0] - (0 if lazy or kind is Kind.EDGE_ROWS else gone)
    edges: tuple[tuple[int, int], ...] = ()
    if "edges" in root and key in root.group("edges"):
        edges = tuple((start, end) for start, end in root.group("edges").array(key, "iu").tolist())
    if not isinstance(lazy, bool) or count > total or key_of(about.word("name")) != key:
        raise ValueError(f"its state {key!r} is not described as one")
    return SavedState(about.word("name"), kind, shape, _DTYPES[about.word("dtype")], count, total, lazy, edges)


def _places(root: checked.Group, states: Sequence[SavedState]) -> dict[str, _Place]:
    """Where each state lies in the file of a rank, once it is seen that it does."""
    if root.count(MARK) > SCHEMA:
        raise ValueError("it is of a newer mpidl than its index")
    ids, values = root.group("ids"), root.group("values")
    places = {}
    for state in states:
        key = key_of(state.name)
        here = ids.array(key, "i")
        stored = np.dtype(torch.empty(0, dtype=stored_as(state.dtype)).numpy().dtype)
        offset = values.offset(key, (len(here), *state.shape), stored)
        if here.ndim != 1 or not (np.diff(here) > 0).all() or not ((here >= 0) & (here < state.total)).all():
            raise ValueError(f"its items of {state.name!r} are none of that state's")
        places[state.name] = _Place(here, offset)
    return places


def _stretches(places: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Places that follow one another, as (first, how many), at most so many at a time."""
    begin = 0
    for end in range(1, len(places) + 1):
        if end == len(places) or places[end] != places[end - 1] + 1 or end - begin == most:
            yield places[begin], end - begin
            begin = end
