"""The ranks of a run, and which of them runs which agent on what device."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch
from mpi4py import MPI

from mpidl.comm import survivors
from mpidl.comm.meters import Meters
from mpidl.comm.placement import Placement
from mpidl.comm.start import device as devices
from mpidl.sentences import ranges

Communicator = MPI.Intracomm
"""What parts above this one call the ranks that they are given; MPI itself they do not know."""


class PendingSum:
    """A sum over ranks that was started, and is finished later."""

    def __init__(self, request: MPI.Request, total: np.ndarray) -> None:
        self._request, self._total = request, total

    def finish(self) -> np.ndarray:
        """The sum, on every rank; waits until all ranks have started it."""
        self._request.Wait()
        return self._total


class World:
    """Agents over the ranks of a communicator, which is duplicated, so that no message meets the caller's.

    Making one is a collective call, as are its methods that say so: their meaning is the same on every rank, their
    messages are typed, and `meters` counts them; what an algorithm sends is counted elsewhere. Not counted and pickled
    is what ranks tell each other once before there are rows: their hosts and devices, what they believe they are about
    to exchange, whether memory can be shared.

    `comm`, `rank`, `size`: the ranks, of which parts above this one use the numbers alone. `placement`: who runs which
    agent, `mine` the agents of this rank. `device`: of this rank. `hosts` and `devices`: of every rank. `node_ranks`:
    the ranks, this one among them, that can share memory.
    """

    def __init__(self, comm: MPI.Intracomm, placement: Placement | int, device: str | torch.device = "cpu") -> None:
        """`placement` may be a number of agents, which are then dealt out in order."""
        if isinstance(placement, int):
            placement = Placement.contiguous(placement, comm.size)
        if placement.ranks != comm.size:
            raise ValueError(f"a placement over {placement.ranks} ranks is not one over {comm.size}")
        self.placement = placement
        self.comm = survivors.duplicate(comm)
        self.rank: int = self.comm.rank
        self.size: int = self.comm.size
        self.device = devices.resolve(device)
        self.meters = Meters()
        described = (socket.gethostname(), devices.name(self.device), devices.identity(self.device))
        self._ranks: list[tuple[str, str, str]] = self.comm.allgather(described)
        self.hosts = tuple(host for host, _, _ in self._ranks)
        node = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.node_ranks: tuple[int, ...] = tuple(node.allgather(self.rank))
        node.Free()
        self.warning = self._shared_gpus()
        """What a person should know of the devices, the same on all ranks; empty where there is nothing."""

    @property
    def agents(self) -> int:
        """The number of agents of the run, those among them that are gone with their ranks."""
        return self.placement.agents

    @property
    def everyone(self) -> tuple[int, ...]:
        """All agents of all ranks, ascending."""
        return self.placement.everyone

    @property
    def mine(self) -> tuple[int, ...]:
        """The agents of this rank, ascending."""
        return self.placement.of_rank(self.rank)

    @property
    def host(self) -> str:
        return self.hosts[self.rank]

    @property
    def devices(self) -> tuple[str, ...]:
        """The device of every rank, as a person calls it."""
        return tuple(device for _, device, _ in self._ranks)

    @property
    def sharers(self) -> int:
        """Ranks that use this rank's GPU, itself among them; 1 on a CPU."""
        host, _, identity = self._ranks[self.rank]
        return sum((h, i) == (host, identity) for h, _, i in self._ranks) if identity else 1

    def table(self) -> str:
        """A line for each rank: its number, host, device and agents."""
        rows = [("rank", "host", "device", "agents")]
        rows += [
            (str(rank), host, device, ranges(self.placement.of_rank(rank)))
            for rank, (host, device, _) in enumerate(self._ranks)
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(line.rstrip() for line in lines)

    def refuse_loss(self) -> None:
        """Raises an error if a rank is known to have died: what was summed since may be anything."""
        survivors.refuse_loss(self.comm)

    def barrier(self) -> None:
        """Returns once every rank has called it. A collective call."""
        self.comm.Barrier()

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Σ over ranks of int64 or float64 numbers, on every rank. A collective call.

        MPI chooses the order of additions. So floats must be exact in any: whole numbers below 2^53, or entries that
        are zero on all ranks but one. `Reducer` sums what rounds.
        """
        values = np.ascontiguousarray(values)
        if values.dtype not in (np.int64, np.float64):
            raise ValueError(f"{values.dtype} is neither int64 nor float64")
        total = np.empty_like(values)
        self.comm.Allreduce(values, total)
        self.meters.handed_to_mpi(values.nbytes)
        return total

    def start_sum(self, values: np.ndarray) -> PendingSum:
        """As `sum` of int64 numbers, without waiting for it. A collective call."""
        # Summed where it lies, in memory that is kept until then: MPI knows only its address.
        total = np.array(values, dtype=np.int64)
        request = self.comm.Iallreduce(MPI.IN_PLACE, total)
        self.meters.handed_to_mpi(total.nbytes)
        return PendingSum(request, total)

    def gather_numbers(self, numbers: Mapping[str, float]) -> dict[str, np.ndarray]:
        """On rank 0, by name, a float64 for every rank; elsewhere nothing. Names must be the same on all ranks.

        A collective call.
        """
        values = np.array(list(numbers.values()), dtype=np.float64)
        gathered = np.empty((self.size, len(values))) if self.rank == 0 else None
        self.comm.Gather(values, gathered)
        self.meters.handed_to_mpi(values.nbytes)
        return {} if gathered is None else dict(zip(numbers, gathered.T.copy(), strict=True))

    def concatenate(self, rows: np.ndarray) -> np.ndarray:
        """The float64 rows [k, m] of all ranks, of any number each, one rank's after another's, on every rank.

        A collective call.
        """
        rows = np.ascontiguousarray(rows, dtype=np.float64)
        counts = np.empty(self.size, dtype=np.int64)
        self.comm.Allgather(np.array([rows.size], dtype=np.int64), counts)
        whole = np.empty((int(counts.sum()) // rows.shape[1], rows.shape[1]))
        self.comm.Allgatherv([rows, MPI.DOUBLE], [whole, counts.tolist(), MPI.DOUBLE])
        self.meters.handed_to_mpi(8 + rows.nbytes, 2)
        return whole

    def bcast_text(self, text: str) -> str:
        """Rank 0's text, on every rank. A collective call."""
        encoded = np.frombuffer(text.encode(), dtype=np.uint8) if self.rank == 0 else np.empty(0, dtype=np.uint8)
        length = np.array([len(encoded)], dtype=np.int64)
        self.comm.Bcast(length)
        received = encoded.copy() if self.rank == 0 else np.empty(length[0], dtype=np.uint8)
        self.comm.Bcast(received)
        if self.rank == 0:
            self.meters.handed_to_mpi(length.nbytes + received.nbytes, 2)
        return received.tobytes().decode()

    def close(self) -> None:
        """Gives the communicator back; a collective call."""
        survivors.free(self.comm)

    def _shared_gpus(self) -> str:
        ranks = Counter((host, identity) for host, _, identity in self._ranks if identity)
        shared = [count for count in ranks.values() if count > 1]
        if not shared:
            return ""
        return (
            f"{len(shared)} of the {len(ranks)} GPUs in use are shared by several ranks (up to {max(shared)} each), "
            "which slows them; start as many ranks as there are GPUs, or start MPS"
        )
