"""The ranks of a run, and which of them runs which agent on what device."""

from __future__ import annotations

import socket
from collections import Counter

import torch
from mpi4py import MPI

from mpidl.comm.placement import Placement
from mpidl.comm.start import device as devices

Communicator = MPI.Intracomm
"""What parts above this one call the ranks that they are given; MPI itself they do not know."""


class World:
    """`agents` agents over the ranks of a communicator, which is duplicated, so that no message meets the caller's.

    Making one is a collective call. `comm`, `rank`, `size`: the ranks. `placement`: who runs which agent, `mine` the
    agents of this rank. `device`: of this rank. `hosts` and `devices`: of every rank. `node_ranks`: the ranks, this one
    among them, that can share memory.
    """

    def __init__(self, comm: MPI.Intracomm, agents: int, device: str | torch.device = "cpu") -> None:
        self.placement = Placement.contiguous(agents, comm.size)
        self.comm = comm.Dup()
        self.rank = self.comm.rank
        self.size = self.comm.size
        self.agents = agents
        self.device = devices.resolve(device)
        described = (socket.gethostname(), devices.name(self.device), devices.identity(self.device))
        self._ranks: list[tuple[str, str, str]] = self.comm.allgather(described)
        self.hosts = tuple(host for host, _, _ in self._ranks)
        node = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.node_ranks: tuple[int, ...] = tuple(node.allgather(self.rank))
        node.Free()
        self.notice = self._shared_gpus()
        """What a person should know of the devices, the same on all ranks; empty where there is nothing."""

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
        """One line a rank: its number, host, device and agents."""
        rows = [("rank", "host", "device", "agents")]
        rows += [
            (str(rank), host, device, _ranges(self.placement.of_rank(rank)))
            for rank, (host, device, _) in enumerate(self._ranks)
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(line.rstrip() for line in lines)

    def close(self) -> None:
        """Gives the communicator back; a collective call."""
        self.comm.Free()

    def _shared_gpus(self) -> str:
        ranks = Counter((host, identity) for host, _, identity in self._ranks if identity)
        shared = [count for count in ranks.values() if count > 1]
        if not shared:
            return ""
        return (
            f"{len(shared)} of the {len(ranks)} GPUs in use are shared by several ranks (up to {max(shared)} each), "
            "which slows them; start as many ranks as there are GPUs, or start MPS"
        )


def _ranges(numbers: tuple[int, ...]) -> str:
    """`0-3, 6, 8-9`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
