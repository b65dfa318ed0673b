"""Ranks that start an exchange together first compare what each believes it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mpidl.errors import CommunicationError

if TYPE_CHECKING:
    from mpi4py import MPI

    from mpidl.graphs.base import Topology


def agree(comm: MPI.Intracomm, beliefs: Mapping[str, str], hosts: tuple[str, ...]) -> None:
    """Raises the same error on every rank, naming two of them and what differs, unless all believe the same."""
    told = comm.allgather(dict(beliefs))
    for rank, other in enumerate(told):
        different = [key for key in told[0] if other.get(key) != told[0][key]]
        if different:
            first, second = (", ".join(f"{key} {who.get(key)}" for key in different) for who in (told[0], other))
            raise CommunicationError(
                f"rank 0 on {hosts[0]} and rank {rank} on {hosts[rank]} disagree about what they exchange: {first} on "
                f"the one, {second} on the other; start all ranks from one configuration"
            )


def graph_digest(topology: Topology) -> str:
    """All rounds of a periodic graph, or the first round of one that is drawn (the others are checked as they come)."""
    return "+".join(topology.at(t).digest.hex() for t in topology.rounds(1))
