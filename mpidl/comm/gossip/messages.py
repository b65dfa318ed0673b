"""Memory as MPI wants it, and groups of messages: persistent requests where the same come back, else plain ones."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from mpi4py import MPI

from mpidl import makers
from mpidl.errors import CommunicationError

if TYPE_CHECKING:
    from torch import Tensor


def short_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def buffer(tensor: Tensor) -> list[Any]:
    """The bytes of a contiguous tensor, on any device and of any dtype; the caller keeps the tensor alive."""
    return [MPI.buffer.fromaddress(tensor.data_ptr(), tensor.nbytes), MPI.BYTE]


# Sent at once by every MPI, and sent only when the receiver is ready: the two ways may differ in what they reach.
_SIZES = (256, 8 * 2**20)


def reaches(comm: MPI.Intracomm, device: torch.device) -> bool:
    """Whether MPI may be given memory of this device; asked by all ranks together, all on CPUs or all on GPUs.

    A library that knows nothing of GPUs can crash on their addresses, so it is tried only where all ranks' libraries
    claim to know. Then each rank sends to the next one, around a ring; what arrives wrong anywhere is told to all.
    """
    if device.type == "cpu":
        return True
    if not all(comm.allgather(_claims())):
        return False
    before, after = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    intact = True
    for size in _SIZES:
        sent = torch.full((size,), comm.rank % 251, dtype=torch.uint8, device=device)
        received = torch.full((size,), 255, dtype=torch.uint8, device=device)
        torch.accelerator.synchronize(device)
        comm.Sendrecv(buffer(sent), after, recvbuf=buffer(received), source=before)
        intact = intact and bool((received == before % 251).all())
    return all(comm.allgather(intact))


def _claims() -> bool:
    """Whether the library says that it takes memory of the GPUs that torch computes on; of no other maker's."""
    build = makers.torch_build()
    return build is not None and bool(build.maker.claimed(ctypes.CDLL(MPI.__file__), MPI.Get_library_version()))


_under_way: set[Batch] = set()
"""Those that were started and are not known to have ended: MPI still reads and writes their memory, so that it must not
be freed, also where an error has ended the exchange that they belong to."""


def give_up() -> None:
    """Lets go of the memory of messages that have ended, in whatever way: once their communicator is revoked."""
    for batch in list(_under_way):
        if all(map(_has_ended, batch.requests)):
            _under_way.discard(batch)


def _has_ended(request: MPI.Request) -> bool:
    try:
        return request.Test()
    except MPI.Exception as error:
        return error.Get_error_class() != MPI.ERR_PROC_FAILED_PENDING


@dataclass(frozen=True)
class Lane:
    """A communicator, and whether requests on it are kept because the same messages recur."""

    comm: MPI.Intracomm
    keep: bool

    def batch(self) -> Batch:
        return Batch(self)


class Batch:
    """Messages that are started and awaited together. Between two ranks, those of one tag arrive in order."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self.requests: list[MPI.Request] = []
        self._posts: list[tuple[Callable[..., MPI.Request], list[Any], int, int]] = []
        self._tensors: list[Tensor] = []
        self.bytes = 0

    @property
    def messages(self) -> int:
        return len(self._tensors)

    def send(self, tensor: Tensor, rank: int, tag: int) -> None:
        """Adds a message from this memory to that rank."""
        comm = self._lane.comm
        self._add(comm.Send_init if self._lane.keep else comm.Isend, tensor, rank, tag)

    def receive(self, tensor: Tensor, rank: int, tag: int) -> None:
        """Adds a message from that rank into this memory; a shorter one fits too."""
        comm = self._lane.comm
        self._add(comm.Recv_init if self._lane.keep else comm.Irecv, tensor, rank, tag)

    def _add(self, post: Callable[..., MPI.Request], tensor: Tensor, rank: int, tag: int) -> None:
        # MPI knows only the address, so the tensor is kept here.
        self._tensors.append(tensor)
        self.bytes += tensor.nbytes
        if self._lane.keep:
            self.requests.append(post(buffer(tensor), rank, tag))
        else:
            self._posts.append((post, buffer(tensor), rank, tag))

    def start(self) -> None:
        _under_way.add(self)
        if self._lane.keep:
            MPI.Prequest.Startall(cast("list[MPI.Prequest]", self.requests))
        else:
            self.requests = [post(memory, rank, tag) for post, memory, rank, tag in self._posts]

    def wait(self) -> None:
        """Until all have arrived or left; at once where none was started."""
        _wait_for([self], self.requests)

    def done(self) -> bool:
        """Whether all have arrived or left, without waiting; asking lets MPI move them on."""
        return _have_gone([self], self.requests)

    def free(self) -> None:
        """Gives persistent requests back; none may be under way."""
        if self._lane.keep:
            for request in self.requests:
                request.Free()
        self.requests = []


class BatchGroup:
    """Several batches of one lane, all of whose messages are in them, by one call instead of one for each."""

    def __init__(self, lane: Lane, batches: Sequence[Batch]) -> None:
        self._keep, self._batches = lane.keep, batches
        self._kept = _requests(batches) if lane.keep else []

    def start(self) -> None:
        if self._keep:
            _under_way.update(self._batches)
            MPI.Prequest.Startall(cast("list[MPI.Prequest]", self._kept))
        else:
            for batch in self._batches:
                batch.start()

    def wait(self) -> None:
        """Until all have arrived or left, as of one batch."""
        _wait_for(self._batches, self._kept)

    def done(self) -> bool:
        """Whether they have, as of one batch."""
        return _have_gone(self._batches, self._kept)


def _wait_for(batches: Sequence[Batch], requests: list[MPI.Request]) -> None:
    """`requests`: those of the batches, where they are kept."""
    try:
        MPI.Request.Waitall(requests or _requests(batches))
    except MPI.Exception as error:
        raise _explained(error) from error
    _under_way.difference_update(batches)


def _have_gone(batches: Sequence[Batch], requests: list[MPI.Request]) -> bool:
    try:
        gone = MPI.Request.Testall(requests or _requests(batches))
    except MPI.Exception as error:
        raise _explained(error) from error
    if gone:
        _under_way.difference_update(batches)
    return gone


def _requests(batches: Sequence[Batch]) -> list[MPI.Request]:
    return [request for batch in batches for request in batch.requests]


def _explained(error: MPI.Exception) -> CommunicationError:
    return CommunicationError(f"a message between two ranks failed: {error.Get_error_string()}")
