"""Which rank needs whose rows: the part of an exchange that depends on graph and placement alone.

No MPI, no tensors, and nothing about what travels: rows, or whatever a compressed scheme makes of them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpidl.comm.placement import Placement
    from mpidl.graphs.base import Mixing, Topology


@dataclass(frozen=True)
class Link:
    """This rank and another one: the agents whose rows go there, or come from there, in ascending order."""

    rank: int
    agents: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """One round of one rank. A row goes once to each rank that needs it, however many agents there do."""

    mixing: Mixing
    sends: tuple[Link, ...]
    receives: tuple[Link, ...]
    messages: int
    """Rows that leave the agents of this rank by the algorithm's formula: one for each receiver, wherever it runs."""

    @cached_property
    def targets(self) -> frozenset[int]:
        """Ranks that read rows of this one."""
        return frozenset(link.rank for link in self.sends)

    @cached_property
    def sources(self) -> frozenset[int]:
        """Ranks whose rows this one reads."""
        return frozenset(link.rank for link in self.receives)


def make_plan(mixing: Mixing, placement: Placement, rank: int) -> Plan:
    """The plan of one rank; its cost grows with the edges of this rank's agents, not with the graph."""
    needed: dict[int, set[int]] = defaultdict(set)
    wanted: dict[int, set[int]] = defaultdict(set)
    mine = placement.of_rank(rank)
    for agent in mine:
        for neighbour in mixing.neighbours[agent]:
            needed[placement.owner(neighbour)].add(neighbour)
        for receiver in mixing.receivers[agent]:
            wanted[placement.owner(receiver)].add(agent)
    return Plan(
        mixing=mixing,
        sends=_links(wanted, rank),
        receives=_links(needed, rank),
        messages=sum(len(mixing.receivers[agent]) for agent in mine),
    )


def _links(agents_by_rank: dict[int, set[int]], own: int) -> tuple[Link, ...]:
    return tuple(Link(rank, tuple(sorted(agents))) for rank, agents in sorted(agents_by_rank.items()) if rank != own)


class Plans:
    """The plans of one rank for every round of a topology; each graph that comes back is planned once."""

    def __init__(self, topology: Topology, placement: Placement, rank: int) -> None:
        self._topology, self._placement, self._rank = topology, placement, rank
        self._by_graph: dict[bytes, Plan] = {}

    @property
    def recurring(self) -> bool:
        """Whether the same plans come back, so that requests for them may be kept."""
        return self._topology.period is not None

    def at(self, t: int) -> Plan:
        mixing = self._topology.at(t)
        if not self.recurring:
            return make_plan(mixing, self._placement, self._rank)
        if mixing.digest not in self._by_graph:
            self._by_graph[mixing.digest] = make_plan(mixing, self._placement, self._rank)
        return self._by_graph[mixing.digest]
