"""Graphs made of other graphs: a list of them in turn, and one whose places are dealt out anew every round."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, WithJsonSchema

from mpidl.errors import ConfigError
from mpidl.graphs import GRAPHS
from mpidl.graphs.base import Drawn, Graph, Mixing, Periodic, Topology
from mpidl.seeding import stream

# Longer common periods are not laid out in memory; such a list says so rather than grow.
LONGEST_PERIOD = 10_000

# The schema of any graph would hold this one, and so itself.
Inner = Annotated[
    Graph,
    GRAPHS,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}], "description": "a graph: name, or {name: …}"}),
]


def _build(graph: Graph, agents: int, seed: int, key: str) -> Topology:
    """The inner graph; its errors name the key that it stands under."""
    try:
        return graph.build(agents, seed)
    except ConfigError as error:
        raise ConfigError(error.message, key + error.key.removeprefix("graph")) from error


class Alternating(Graph):
    """Alternating: a list of graphs in turn; each visit to a time-varying one takes its next round."""

    graphs: list[Inner] = Field(min_length=1, max_length=LONGEST_PERIOD, description="the graphs, in their order")

    def build(self, agents: int, seed: int) -> Topology:
        inner = []
        for place, graph in enumerate(self.graphs):
            # Two random graphs of one kind must not be the same graph.
            own = int(stream(seed, "alternating", 0, place).integers(2**63))
            inner.append(_build(graph, agents, own, f"graph.graphs.{place}"))

        def at(t: int) -> Mixing:
            return inner[t % len(inner)].at(t // len(inner))

        periods = [topology.period for topology in inner]
        if None in periods:
            return Drawn(agents, at, any(topology.directed for topology in inner))
        period = len(inner) * math.lcm(*(period for period in periods if period is not None))
        if period > LONGEST_PERIOD:
            listing = ", ".join(map(str, sorted({period for period in periods if period is not None})))
            raise ConfigError(
                f"the graphs' periods ({listing}) repeat together only after {period} rounds; "
                f"at most {LONGEST_PERIOD} are allowed",
                "graph.graphs",
            )
        return Periodic([at(t) for t in range(period)])


class Relabel(Graph):
    """Relabel: a graph whose places are dealt out at random, anew every round: ΠᵀWΠ with one permutation Π."""

    graph: Inner
    every: int = Field(1, ge=1, description="rounds until the places are dealt out anew")
    seed: int | None = Field(None, ge=0, description="seed of the permutations; null: the run's")

    def build(self, agents: int, seed: int) -> Topology:
        inner = _build(self.graph, agents, seed, "graph.graph")
        chosen = seed if self.seed is None else self.seed

        def draw(t: int) -> Mixing:
            permutation = stream(chosen, "relabel", 0, t // self.every).permutation(agents)
            return inner.at(t).relabelled(permutation.tolist())

        return Drawn(agents, draw, inner.directed)
