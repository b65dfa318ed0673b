"""Directed graphs: directed ring and exponential, static; one peer per round along the exponential graph's hops."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mpidl.graphs.base import Graph, Mixing, Periodic, Topology
from mpidl.graphs.weights import Directed


def hops(agents: int) -> list[int]:
    """1, 2, 4, … below the number of agents: ⌊log₂(N − 1)⌋ + 1 of them."""
    return [1 << k for k in range((agents - 1).bit_length())]


class DirectedRing(Directed):
    """Directed ring: agent i sends to i + 1 only."""

    def edges(self, agents: int) -> Iterable[tuple[int, int]]:
        return ((i, (i + 1) % agents) for i in range(agents))


class Exponential(Directed):
    """Exponential graph: agent i sends to i + 1, i + 2, i + 4, … [Ying et al. 2021]."""

    def edges(self, agents: int) -> Iterable[tuple[int, int]]:
        senders = np.arange(agents)
        return np.concatenate([np.stack([senders, (senders + hop) % agents], axis=1) for hop in hops(agents) or [0]])


class OnePeerExponential(Graph):
    """One-peer exponential graph: in round t agent i keeps ½ and sends ½ to i + 2^(t mod τ) [Ying et al. 2021].

    τ = ⌊log₂(N − 1)⌋ + 1 rounds make a period; they average exactly where N = 2^τ.
    """

    def build(self, agents: int, seed: int) -> Topology:
        if agents == 1:
            return Periodic([Mixing(((),), ((),), (1.0,))])
        halves = (0.5,) * agents
        return Periodic(
            [
                Mixing(tuple(((i - hop) % agents,) for i in range(agents)), ((0.5,),) * agents, halves)
                for hop in hops(agents)
            ]
        )
