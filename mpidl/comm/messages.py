"""Groups of MPI messages: persistent requests where the same messages come back, plain ones where they do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpi4py import MPI

from mpidl.comm.wire import buffer
from mpidl.errors import CommunicationError

if TYPE_CHECKING:
    from torch import Tensor


_under_way: set[Batch] = set()
"""Those that were started and are not known to have ended: MPI still reads and writes their memory, so that it must not
be freed, also where an error has ended the exchange that they belong to."""


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
            MPI.Prequest.Startall(self.requests)
        else:
            self.requests = [post(memory, rank, tag) for post, memory, rank, tag in self._posts]

    def wait(self) -> None:
        """Until all have arrived or left; at once where none was started."""
        _wait_for([self])

    def done(self) -> bool:
        """Whether all have arrived or left, without waiting; asking lets MPI move them on."""
        return _have_gone([self])

    def free(self) -> None:
        """Gives persistent requests back; none may be under way."""
        if self._lane.keep:
            for request in self.requests:
                request.Free()
        self.requests = []


class Batches:
    """What `Batch` waits for, of several at once that have been started."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches

    def wait(self) -> None:
        _wait_for(self._batches)

    def done(self) -> bool:
        return _have_gone(self._batches)


def _wait_for(batches: Sequence[Batch]) -> None:
    try:
        MPI.Request.Waitall(_requests(batches))
    except MPI.Exception as error:
        raise _explained(error) from error
    _under_way.difference_update(batches)


def _have_gone(batches: Sequence[Batch]) -> bool:
    try:
        gone = MPI.Request.Testall(_requests(batches))
    except MPI.Exception as error:
        raise _explained(error) from error
    if gone:
        _under_way.difference_update(batches)
    return gone


def _requests(batches: Sequence[Batch]) -> list[MPI.Request]:
    return [request for batch in batches for request in batch.requests]


def _explained(error: MPI.Exception) -> CommunicationError:
    return CommunicationError(f"a message between two ranks failed: {error.Get_error_string()}")
