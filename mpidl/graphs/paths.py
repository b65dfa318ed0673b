"""Who can reach whom along the edges of a graph."""

from __future__ import annotations

import math

from mpidl.graphs.base import Topology
from mpidl.graphs.weights import Neighbours

# Rounds after which a graph drawn anew every round must have connected everyone (one-peer matching of 1,000: about 8).
WINDOW = 100


def _reached(neighbours: Neighbours) -> set[int]:
    """The agents that agent 0 hears from, directly or through others."""
    reached, waiting = {0}, [0]
    while waiting:
        for j in neighbours[waiting.pop()]:
            if j not in reached:
                reached.add(j)
                waiting.append(j)
    return reached


def distances(neighbours: Neighbours, agent: int) -> tuple[float, ...]:
    """By agent, edges on the shortest way from it to this one; infinity where there is none."""
    steps = [math.inf] * len(neighbours)
    steps[agent], waiting = 0, [agent]
    for i in waiting:
        for j in neighbours[i]:
            if steps[j] == math.inf:
                steps[j] = steps[i] + 1
                waiting.append(j)
    return tuple(steps)


def connected(neighbours: Neighbours, two_way: bool = False) -> bool:
    """Every agent hears from every other; along directed edges, too, unless all are known to work both ways."""
    return unreachable(neighbours, two_way) is None


def unreachable(neighbours: Neighbours, two_way: bool = False) -> tuple[int, int] | None:
    """Two agents i, j such that nothing from j ever gets to i, or None where there are none.

    `two_way`: whoever receives also sends, as is known.
    """
    agents = len(neighbours)
    heard = _reached(neighbours)
    if len(heard) < agents:
        return 0, min(set(range(agents)) - heard)
    if two_way:
        return None
    receivers: list[list[int]] = [[] for _ in range(agents)]
    for i, row in enumerate(neighbours):
        for j in row:
            receivers[j].append(i)
    hearing = _reached([tuple(row) for row in receivers])
    return (min(set(range(agents)) - hearing), 0) if len(hearing) < agents else None


def unconnected(topology: Topology) -> tuple[int, int] | None:
    """As `unreachable`, over all edges of a period, or of the first 100 rounds where each is drawn anew."""
    two_way = not topology.directed
    if topology.period == 1:
        return unreachable(topology.at(0).neighbours, two_way)
    edges: list[set[int]] = [set() for _ in range(topology.agents)]
    pair: tuple[int, int] | None = None
    for count, t in enumerate(topology.rounds(WINDOW), start=1):
        for i, row in enumerate(topology.at(t).neighbours):
            edges[i].update(row)
        # Looking only now and then keeps large drawn graphs cheap.
        if count & (count - 1) == 0 or count == len(topology.rounds(WINDOW)):
            pair = unreachable([tuple(row) for row in edges], two_way)
            if pair is None:
                return None
    return pair


def rounds_to_reach_all(topology: Topology, limit: int = 10_000) -> int | None:
    """Rounds from round 0 until something of every agent has got to every other; None where that never happens.

    For a static graph this is its diameter.
    """
    everyone = (1 << topology.agents) - 1
    # Bit j of heard[i]: something of agent j has got to agent i.
    heard = [1 << i for i in range(topology.agents)]
    idle = 0
    for t in range(limit):
        if all(bits == everyone for bits in heard):
            return t
        before = heard
        heard = []
        for bits, row in zip(before, topology.at(t).neighbours, strict=True):
            for j in row:
                bits |= before[j]
            heard.append(bits)
        idle = idle + 1 if heard == before else 0
        if idle == len(topology.rounds(WINDOW)):
            return None
    return None
