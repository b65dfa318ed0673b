"""Pairs drawn anew every round."""

from __future__ import annotations

from pydantic import Field

from mpidl.graphs.base import Drawn, Graph, Mixing, Topology
from mpidl.seeding import stream


class OnePeerMatching(Graph):
    """One-peer random matching: each round pairs the agents at random, and each pair averages.

    With an odd number of agents one of them, drawn anew each round, keeps its row.
    """

    seed: int | None = Field(None, ge=0, description="seed of the pairs; null: the run's")

    def build(self, agents: int, seed: int) -> Topology:
        chosen = seed if self.seed is None else self.seed

        def draw(t: int) -> Mixing:
            order = stream(chosen, "matching", 0, t).permutation(agents).tolist()
            peers: list[tuple[int, ...]] = [()] * agents
            for i, j in zip(order[0::2], order[1::2], strict=False):
                peers[i], peers[j] = (j,), (i,)
            return Mixing(
                tuple(peers), tuple((0.5,) * len(peer) for peer in peers), tuple(0.5 if peer else 1.0 for peer in peers)
            )

        return Drawn(agents, draw, directed=False)
