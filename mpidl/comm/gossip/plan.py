"""Which rank needs whose rows: the part of an exchange that depends on graph and placement alone.

No MPI, no tensors, and nothing about what travels: rows, or whatever a compressed scheme makes of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from mpidl.comm.placement import Placement
    from mpidl.graphs.base import Mixing, Topology


Edge: TypeAlias = tuple[int, int]
"""A directed edge (from, to) between two agents."""
Item: TypeAlias = int | Edge
"""What a row belongs to: an agent, whose row goes to all its receivers, or an edge, whose row goes along it alone."""


@dataclass(frozen=True)
class Link:
    """This rank and another one: the items whose rows go there, or come from there, in ascending order."""

    rank: int
    items: tuple[Item, ...]


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
    """The plan of one rank for rows of agents; its cost grows with the edges of its agents, not with the graph."""
    return _plan(mixing, placement, rank, lambda sender, receiver: sender)


def make_edge_plan(mixing: Mixing, placement: Placement, rank: int) -> Plan:
    """The plan of one rank for rows of edges, of which each goes to one receiver."""
    return _plan(mixing, placement, rank, lambda sender, receiver: (sender, receiver))


def edges_from(mixing: Mixing, agents: Iterable[int]) -> tuple[Edge, ...]:
    """The edges (i, j) of a round that begin at one of these agents, in their order."""
    return tuple((agent, receiver) for agent in agents for receiver in mixing.receivers[agent])


def _plan(mixing: Mixing, placement: Placement, rank: int, item: Callable[[int, int], Item]) -> Plan:
    needed: dict[int, set[Item]] = defaultdict(set)
    wanted: dict[int, set[Item]] = defaultdict(set)
    mine = placement.of_rank(rank)
    for agent in mine:
        for neighbour in mixing.neighbours[agent]:
            needed[placement.owner(neighbour)].add(item(neighbour, agent))
        for receiver in mixing.receivers[agent]:
            wanted[placement.owner(receiver)].add(item(agent, receiver))
    return Plan(
        mixing=mixing,
        sends=_links(wanted, rank),
        receives=_links(needed, rank),
        messages=sum(len(mixing.receivers[agent]) for agent in mine),
    )


def _links(items_by_rank: dict[int, set[Item]], own: int) -> tuple[Link, ...]:
    return tuple(Link(rank, _ascending(items)) for rank, items in sorted(items_by_rank.items()) if rank != own)


def _ascending(items: Iterable[Item]) -> tuple[Item, ...]:
    """Items of one kind in their order."""
    return tuple(sorted(items))


PlanMaker: TypeAlias = "Callable[[Mixing, Placement, int], Plan]"


class Plans:
    """The plans of one rank for every round of a topology; each graph that comes back is planned once."""

    def __init__(self, topology: Topology, placement: Placement, rank: int, make: PlanMaker = make_plan) -> None:
        self._topology, self._placement, self._rank, self._make = topology, placement, rank, make
        self._by_graph: dict[bytes, Plan] = {}

    @property
    def recurring(self) -> bool:
        """Whether the same plans come back, so that requests for them may be kept."""
        return self._topology.period is not None

    @property
    def static(self) -> bool:
        """Whether all rounds have the same plan, so that neighbours mean the same by it, whatever round they are in."""
        return self._topology.period == 1

    def at(self, t: int) -> Plan:
        mixing = self._topology.at(t)
        if not self.recurring:
            return self._make(mixing, self._placement, self._rank)
        if mixing.digest not in self._by_graph:
            self._by_graph[mixing.digest] = self._make(mixing, self._placement, self._rank)
        return self._by_graph[mixing.digest]

    def all(self, limit: int) -> list[Plan]:
        """Every plan that is met, or those of the first `limit` rounds of a graph drawn anew."""
        return list({id(plan): plan for plan in map(self.at, self._topology.rounds(limit))}.values())
