"""What is left of a graph when agents are gone: those around each of them are joined, so that rows go on to mix.

W is reduced to its stochastic complement [Meyer 1989, section 2], for symmetric W the Kron reduction of the graph
[Dörfler and Bullo 2013]. With L the agents that are left and D those that are gone,

    W' = W_LL + W_LD (I − W_DD)⁻¹ W_DL

which is what a row meets that goes through D until it is back in L. Rows, columns or both sum to 1 as they did, and W'
is symmetric if W is; what was connected stays so; and by interlacing no eigenvalue of a symmetric W' but 1 is larger
than the second of W, and none is below its least: it mixes as fast or faster, and what D² asks for holds as before.

All this is of one round. Of a graph that changes from round to round each round is reduced by itself, and those that
only met through the gone may never meet again: `require_left` looks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from mpidl.errors import CommunicationError
from mpidl.graphs.base import Drawn, Mixing, Periodic, Topology
from mpidl.graphs.paths import unconnected
from mpidl.graphs.weights import MOST_WEIGHTS


def without(topology: Topology, gone: Collection[int]) -> Topology:
    """The graph among the agents that are left, who keep their numbers; the others stand alone in it."""
    return _changed(topology, topology.agents, lambda mixing: reduced(mixing, gone)) if gone else topology


def reduced(mixing: Mixing, gone: Collection[int]) -> Mixing:
    """W' with an identity where agents are gone, who are taken out one by one, by sums that are alike everywhere."""
    rows = [dict(zip(*row, strict=True)) for row in zip(mixing.neighbours, mixing.weights, strict=True)]
    receivers = [set(column) for column in mixing.receivers]
    own = list(mixing.self_weights)
    for d in sorted(gone):
        if len(rows[d]) * len(receivers[d]) > MOST_WEIGHTS:
            raise CommunicationError(
                f"agent {d} stood between {len(rows[d]):,} others, whom its loss joins by more than {MOST_WEIGHTS:,} "
                "weights; --resume goes on from the newest checkpoint"
            )
        # What d gives away again of what it gets; where it keeps all, columns sum to 1 if senders keep theirs.
        given = 1 - own[d]
        for j, weight in rows[d].items():
            receivers[j].discard(d)
            if not receivers[d]:
                own[j] += weight
        for i in sorted(receivers[d]):
            share = rows[i].pop(d)
            for j, weight in rows[d].items():
                moved = share * weight / given
                if i == j:
                    own[i] += moved
                else:
                    rows[i][j] = rows[i].get(j, 0.0) + moved
                    receivers[j].add(i)
        rows[d], receivers[d], own[d] = {}, set(), 1.0
    ordered = [sorted(row.items()) for row in rows]
    neighbours = tuple(tuple(j for j, _ in row) for row in ordered)
    return Mixing(neighbours, tuple(tuple(weight for _, weight in row) for row in ordered), tuple(own))


def among(topology: Topology, left: Sequence[int]) -> Topology:
    """The same graph with those who are left numbered 0, 1, … in their order, and nobody else."""
    places = {agent: place for place, agent in enumerate(left)}

    def renumbered(mixing: Mixing) -> Mixing:
        return Mixing(
            tuple(tuple(places[j] for j in mixing.neighbours[i]) for i in left),
            tuple(mixing.weights[i] for i in left),
            tuple(mixing.self_weights[i] for i in left),
        )

    return _changed(topology, len(left), renumbered)


def _changed(topology: Topology, agents: int, change: Callable[[Mixing], Mixing]) -> Topology:
    """The graph of so many agents with each of its rounds changed so."""
    if topology.period is None:
        return Drawn(agents, lambda t: change(topology.at(t)), topology.directed)
    return Periodic([change(topology.at(t)) for t in range(topology.period)])


def require_left(topology: Topology, left: Sequence[int]) -> None:
    """Refuses what has fallen apart: a graph on which nothing from one of these agents ever reaches another."""
    pair = unconnected(among(topology, left))
    if pair is not None:
        raise CommunicationError(
            f"without the agents that are gone the graph has fallen apart: nothing from agent {left[pair[1]]} ever "
            f"reaches agent {left[pair[0]]}; --resume goes on from the newest checkpoint"
        )
