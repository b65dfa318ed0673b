"""RelaySGD."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.algorithms.direction import KeptDirection, MomentumSettings
from mpidl.graphs.paths import distances

if TYPE_CHECKING:
    from torch import Tensor

RELAY = "relayed sums"


class RelaySGD(Decentralized):
    """RelaySGD [Vogels et al. 2021, Algorithm 1], on trees: sums travel on, so that everyone's row reaches everyone.

        z = x − η d(x);   M_{i→j} = z_i + Σ_{k ∈ N(i), k ≠ j} M⁻_{k→i}
        x_i⁺ = [z_i + Σ_{j ∈ N(i)} M_{j→i} + (N − c_i) x⁰]/N

    M⁻ is last round's message, zero before the first, and c_i counts the rows that have come to agent i, its own
    included: in round t those of agents at most t + 1 edges away. Exact; the optimum of unlike agents is reached. All
    agents start at one x⁰, which stands for rows that are still on their way. Weights of the graph are not used.
    """

    class Settings(AlgorithmSettings, MomentumSettings):
        pass

    settings: Settings
    mixed = ()
    edgewise = (RELAY,)
    one_start = True
    copies_are_one = False

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.direction = KeptDirection(settings.rule, self.layout, self.state.rows)
        self.start = self.state.server("initial parameters")
        self.start.copy_(context.initial[0])
        self._neighbours = self.topology.at(0).neighbours
        # Kept by the receiver, so an item (i, k) is what agent i has from k.
        edges = [(i, k) for i in self.everyone for k in self._neighbours[i]]
        self.M = self.state.edge_rows("received sums", edges)
        self._distances = {i: distances(self._neighbours, i) for i in self.agents}

    @classmethod
    def needs(cls, settings: AlgorithmSettings) -> tuple[str, ...]:
        return ("connected", "tree")

    def round(self, X: Tensor) -> Tensor:
        N = len(self.everyone)
        Z = X.sub_(self.direction(self.gradient(X), X, self.t, self.lr), alpha=self.lr)
        for (i, j), message in self.outgoing(RELAY).items():
            message.copy_(Z[self.agents.index(i)])
            for k in self._neighbours[i]:
                if k != j:
                    message.add_(self.M[i, k])
        arrived = self.swap(RELAY)
        for i, x in zip(self.agents, Z, strict=True):
            for j in self._neighbours[i]:
                x.add_(self.M[i, j].copy_(arrived[j, i]))
            came = sum(distance <= self.t + 1 for distance in self._distances[i])
            x.add_(self.start, alpha=N - came).div_(N)
        return X
