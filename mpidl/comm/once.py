"""Data that one rank of each node loads for all that are there, in memory that they share.

The memory is a file without a name, which the other ranks open among those of the process that has it: so nothing is
left behind however a rank ends, and the size of /dev/shm is no limit.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mpidl.comm.world import World
from mpidl.data.dataset import Dataset
from mpidl.data.packing import NotPortable, PackedData, pack, unpack
from mpidl.errors import DataError, MpidlError
from mpidl.sentences import place

log = logging.getLogger("mpidl")


@dataclass(frozen=True)
class _Handed:
    """What the rank that has the data tells the others of its node.

    `path` and `identity`, which is device and inode: of the file; without it there is no memory, and `failure` says
    why. `outline`: what tells the data in it. `error`: with which loading has failed.
    """

    path: str = ""
    identity: tuple[int, int] = (0, 0)
    outline: bytes = b""
    failure: str = ""
    error: MpidlError | None = None


def load_once(world: World, load: Callable[[], Dataset], held: Dataset | None = None) -> Dataset:
    """The data on every rank, of which only the lowest of each node loads them.

    A rank that has them already, as `held`, keeps them, and is the one that hands them on. Where they cannot be shared,
    ranks load them each by itself, as the log says. If loading fails by an error of mpidl's, all ranks of the node
    raise that. What a rank writes into the data no other sees. A collective call.
    """
    if world.size == 1:
        return load() if held is None else held
    holding = world.comm.allgather(held is not None)
    if held is not None and all(holding):
        return held
    node = world.node_ranks
    giver = next((rank for rank in node if holding[rank]), node[0])
    own, handed, memory, failure = held, _Handed(), None, ""
    with ExitStack() as stack:
        if world.rank == giver:
            try:
                own = load() if held is None else held
            except MpidlError as error:
                world.comm.allgather(_Handed(error=_sendable(error)))
                raise
            if not all(holding[rank] or rank == giver for rank in node):
                handed = _offered(own, stack, world.host)
        offers = world.comm.allgather(handed)
        given = offers[giver]
        if given.error is not None:
            raise given.error
        if given.path and held is None:
            try:
                memory = _mapped(given)
            except OSError as error:
                failure = f"rank {world.rank} loads the data by itself: memory of rank {giver} {error.strerror}"
        # The file is there until all have mapped it.
        failures = world.comm.allgather(failure)
    for sentence in filter(None, [*(offer.failure for offer in offers), *failures]) if world.rank == 0 else ():
        log.info("%s", sentence)
    if memory is not None:
        return unpack(given.outline, memory)
    return load() if own is None else own


def _offered(dataset: Dataset, stack: ExitStack, host: str) -> _Handed:
    """The data in memory that others can map as long as the stack is open."""
    try:
        packed = pack(dataset)
        handle = _filled(packed)
    except (NotPortable, OSError) as error:
        words = f"memory for them: {error.strerror}" if isinstance(error, OSError) else error
        return _Handed(failure=f"the ranks on {host} load the data each by itself: {words}")
    stack.callback(os.close, handle)
    status = os.fstat(handle)
    path = f"/proc/{os.getpid()}/fd/{handle}"
    return _Handed(path, (status.st_dev, status.st_ino), packed.outline)


def _filled(packed: PackedData) -> int:
    """A file in memory with these bytes, as a handle."""
    if not hasattr(os, "memfd_create"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    handle = os.memfd_create("mpidl-data")
    try:
        os.ftruncate(handle, packed.size)
        # Written, not mapped: where there is no room, a page that is touched would end the process.
        with open(handle, "wb", closefd=False) as file:
            for begin, piece in packed.pieces:
                file.seek(begin)
                file.write(piece.data)
    except OSError:
        os.close(handle)
        raise
    return handle


def _mapped(given: _Handed) -> memoryview:
    """The memory; pages that are written to become this rank's own."""
    # Seen from another container the process of this number is another one.
    status = Path(given.path).stat()
    if (status.st_dev, status.st_ino) != given.identity:
        raise FileNotFoundError(errno.ENOENT, "belongs to another container")
    handle = os.open(given.path, os.O_RDONLY)
    try:
        return memoryview(mmap.mmap(handle, 0, access=mmap.ACCESS_COPY))
    finally:
        os.close(handle)


def _sendable(error: MpidlError) -> MpidlError:
    """The error as another rank can raise it, with the place that only this one finds; of a user's class its words."""
    sent = error if type(error).__module__ == MpidlError.__module__ else DataError(str(error))
    sent.place = place(error)
    return sent
