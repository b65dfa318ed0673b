"""Probes of what a run stands on: MPI joins the ranks, messages arrive as they left, memory and GPUs are reached.

And what a check-up needs around them: a part of the ranks, and a roll-call that knows who has not come.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import mpi4py
import torch
from mpi4py import MPI

from mpidl import __version__
from mpidl.comm.agreement import agree
from mpidl.comm.gossip import messages
from mpidl.comm.gossip.messages import Lane
from mpidl.comm.sharing import SharedBlocks
from mpidl.comm.start import launchers, startup
from mpidl.comm.world import Communicator, World
from mpidl.errors import LaunchError
from mpidl.seeding import stream

_LEVELS = {
    MPI.THREAD_SINGLE: "single",
    MPI.THREAD_FUNNELED: "funneled",
    MPI.THREAD_SERIALIZED: "serialized",
    MPI.THREAD_MULTIPLE: "multiple",
}
# A message that has been sent is not there at the first look.
_LOOK_SECONDS = 1.0
_SHARED = 2**20
"""Numbers in a block that is shared to see whether memory can be."""


def thread_level() -> str:
    """How much MPI allows threads: `multiple` where all may call it at once."""
    return _LEVELS[MPI.Query_thread()]


def joined(world: World) -> str:
    """What MPI has joined the ranks, in words; a LaunchError or CommunicationError where they are not one world.

    A collective call.
    """
    place, library = launchers.find(os.environ), startup.library()
    if place.launcher is not None and place.size != world.size:
        raise LaunchError(
            f"{place.launcher.name} started {place.size} processes, and MPI ({library}) sees {world.size} of them; "
            f"{place.launcher.cure}"
        )
    versions = {"MPI": library, "mpi4py": mpi4py.__version__, "torch": torch.__version__, "mpidl": __version__}
    agree(world.comm, versions, "give all hosts the same environment")
    return f"{library}, mpi4py {mpi4py.__version__}, thread level {thread_level()}"


def sent_around(world: World, size: int, distance: int, keep: bool) -> str:
    """Sends so many bytes to the rank so far on; what is wrong with those that arrive here, or nothing.

    `keep`: with persistent requests, as messages go that recur. A collective call.
    """
    batch = Lane(world.comm, keep).batch()
    after, before = (world.rank + distance) % world.size, (world.rank - distance) % world.size
    sent, received = _pattern(world.rank, size), torch.zeros(size, dtype=torch.uint8)
    batch.receive(received, before, distance)
    batch.send(sent, after, distance)
    batch.start()
    batch.wait()
    batch.free()
    altered = (received != _pattern(before, size)).nonzero()
    if not len(altered):
        return ""
    return f"of {size:,} bytes from rank {before} to rank {world.rank} {len(altered):,} arrive altered"


def _pattern(rank: int, size: int) -> torch.Tensor:
    """Bytes that nobody else sends."""
    return torch.frombuffer(bytearray(stream(rank, "selftest", size).bytes(size)), dtype=torch.uint8)


def shared_memory(world: World) -> str:
    """Why memory cannot be shared by the ranks of this node, or nothing: each rank writes, and all read it.

    A collective call.
    """
    blocks = SharedBlocks(world.comm, world.node_ranks, 1, _SHARED, torch.float32)
    wrong = blocks.failure
    if not wrong:
        for block in blocks.of(world.rank):
            block.fill_(world.rank + 1)
    world.barrier()
    for rank in () if wrong else world.node_ranks:
        if not all(bool((block == rank + 1).all()) for block in blocks.of(rank)):
            wrong = wrong or f"rank {world.rank} does not see what rank {rank} has written into shared memory"
    world.barrier()
    blocks.close()
    return wrong


def reaches_gpus(world: World, device: torch.device) -> bool:
    """Whether MPI may be given memory of the ranks' GPUs. A collective call."""
    return messages.reaches(world.comm, device)


@contextmanager
def first_ranks(world: World, count: int) -> Iterator[Communicator | None]:
    """The first so many ranks as a communicator; None on the others, which wait at its end. A collective call."""
    color = 0 if world.rank < count else MPI.UNDEFINED
    part = cast("Communicator", world.comm.Split(color, world.rank))
    yield None if part == MPI.COMM_NULL else part
    # Not after a failure: the other ranks may never come.
    if part != MPI.COMM_NULL:
        part.Free()
    world.barrier()


class RollCall:
    """Texts that all ranks tell rank 0, which knows meanwhile of whom it has heard."""

    def __init__(self, world: World) -> None:
        """A collective call."""
        self._comm = world.comm.Dup()
        self._heard: dict[int, list[str]] = {}

    def answer(self, texts: list[str]) -> list[list[str]]:
        """On rank 0, once all have answered, what each has said, by rank; elsewhere nothing. A collective call."""
        if self._comm.rank:
            self._comm.send(texts, 0)
            return []
        self._heard[0] = texts
        while len(self._heard) < self._comm.size:
            status = MPI.Status()
            said = self._comm.recv(status=status)
            self._heard[status.source] = said
        heard, self._heard = self._heard, {}
        return [heard[rank] for rank in range(self._comm.size)]

    def heard(self) -> dict[int, list[str]]:
        """On rank 0, what ranks have said so far; for a thread beside the one that waits for answers."""
        end = time.monotonic() + (_LOOK_SECONDS if thread_level() == "multiple" else 0.0)
        while len(self._heard) < self._comm.size and time.monotonic() < end:
            message = self._comm.improbe()
            if message is None:
                time.sleep(0.005)
            else:
                status = MPI.Status()
                said = message.recv(status=status)
                self._heard[status.source] = said
        return dict(self._heard)

    def close(self) -> None:
        """A collective call."""
        self._comm.Free()
