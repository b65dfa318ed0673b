"""The file of one rank in a checkpoint: the items of every state that it held.

    /                attributes: mpidl_checkpoint (the schema), round, rank
    /ids/<state>     [k] which items these are
    /values/<state>  [k, *shape]; attributes name, dtype

HDF5 makes the file and says where in it each array lies; its bytes are written there by the system. So a thread can
write a checkpoint, and compute its checksum on the way, while others use HDF5, which serves one thread at a time.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mpidl.files import open_regular
from mpidl.results.storage import open_file
from mpidl.task import Task

if TYPE_CHECKING:
    import h5py

SCHEMA = 1
MARK = "mpidl_checkpoint"
# Written or read at once.
_CHUNK = 2**20


@dataclass(frozen=True)
class Held:
    """The items [k, *shape] of one state on one rank.

    `pieces` are their numbers in the memory of the host, in one array or several, without gaps. `dtype` is that of
    torch: where numpy has no such numbers, they are of `stored`, with the same bits.
    """

    name: str
    ids: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str
    stored: np.dtype
    pieces: Iterable[np.ndarray]


@dataclass(frozen=True)
class FileFacts:
    """A file as it must be found again."""

    name: str
    size: int
    sha256: str


def key_of(name: str) -> str:
    """A state's name as HDF5 can have it."""
    return name.replace("/", "∕") if name.strip(".") else f"state {name}"


def write_part(
    path: Path, round: int, rank: int, states: Sequence[Held], abandoned: Callable[[], bool] = lambda: False
) -> FileFacts:
    """Writes a rank's file; it is on the disk when this returns. OSError once it is `abandoned`."""
    with open_file(path, "w") as file:
        file.attrs.update({MARK: SCHEMA, "round": round, "rank": rank})
        places = [_room(file, held) for held in states]
    contents = {place: held for place, held in zip(places, states, strict=True) if place is not None}
    return _fill(path, contents, abandoned)


def _room(file: h5py.File, held: Held) -> int | None:
    """Makes room for a state; where in the file it begins, unless it is empty."""
    import h5py

    file.require_group("ids")[key_of(held.name)] = np.array(held.ids, dtype=np.int64)
    group = file.require_group("values")
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    kind = h5py.h5t.py_create(held.stored, logical=True)
    space = h5py.h5s.create_simple((len(held.ids), *held.shape))
    array = h5py.Dataset(h5py.h5d.create(group.id, key_of(held.name).encode(), kind, space, dcpl=layout))
    array.attrs.update(name=held.name, dtype=held.dtype)
    return array.id.get_offset()


def _fill(path: Path, contents: dict[int, Held], abandoned: Callable[[], bool]) -> FileFacts:
    """Writes these numbers to their places in a file, and waits until all of it is on the disk."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        for place, held in contents.items():
            for piece in held.pieces:
                content = piece.reshape(-1).view(np.uint8).data
                for begin in range(0, len(content), _CHUNK):
                    _go_on(path, abandoned)
                    chunk = content[begin : begin + _CHUNK]
                    _write(descriptor, chunk, place)
                    place += len(chunk)
    except BaseException:
        os.close(descriptor)
        raise
    # Meanwhile it still lies in the system's memory, where its checksum is found sooner than a disk takes it.
    saving = Task(partial(_to_disk, descriptor), apart=True)
    facts = checksum(path, abandoned)
    saving.outcome()
    return facts


def _go_on(path: Path, abandoned: Callable[[], bool]) -> None:
    if abandoned():
        raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED), str(path))


def _write(descriptor: int, content: memoryview, place: int) -> None:
    while content:
        count = os.pwrite(descriptor, content, place)
        content, place = content[count:], place + count


def _to_disk(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum(path: Path, abandoned: Callable[[], bool] = lambda: False) -> FileFacts:
    """A file as it is found; OSError where it is none, or a link, and once it is `abandoned`."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    with FileIO(open_regular(path, os.O_RDONLY | os.O_NOFOLLOW)) as file:
        while count := file.readinto(buffer):
            _go_on(path, abandoned)
            digest.update(buffer[:count])
        return FileFacts(path.name, os.fstat(file.fileno()).st_size, digest.hexdigest())
