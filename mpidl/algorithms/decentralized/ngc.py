"""Neighbourhood gradient clustering, and SADDLe on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.algorithms.direction import KeptDirection, MomentumSettings
from mpidl.algorithms.sharpness import SharpnessAware, SharpnessSettings

if TYPE_CHECKING:
    from torch import Tensor

CROSS = "cross-gradients"


class NGC(Decentralized):
    """Neighbourhood gradient clustering [Aketi, Kodge and Roy 2022, Algorithm 1]: neighbours' data teach my model, too.

        x̃_i = mix(x)_i;   g_ii = ∇F_i(x̃_i);   g_ij = ∇F_i(x_j) for each neighbour j: my data, their parameters
        send g_ij to j, receive g_ji
        G_i = Σ_{j ∈ N(i) ∪ {i}} w_ij [(1 − a) g_ij + a g_ji] + λx̃_i;   x_i⁺ = x̃_i − η direction(G_i)

    Exact, for symmetric static W of any degrees; the official code weighs by 1/(deg + 1), right on regular graphs only.
    All gradients of an agent are on its one mini-batch, each is clipped by itself. x_j is what the scheme lets the
    neighbours of j know: its row, or under choco the replica x̂_j. With `gossip.cross_gradients`, CompNGC, each g_ij
    leaves as C(g + e), and g_ii counts as that, with a memory e ← g + e − C(g + e) for each neighbour and one for the
    agent itself; (1 − a) g_ij stays as it is.
    """

    class Settings(AlgorithmSettings, MomentumSettings):
        cross_weight: float = Field(1.0, ge=0, le=1, description="a, the share of g_ji beside g_ij")

    settings: Settings
    in_place = ("parameters",)
    neighbours_read = ("parameters",)
    edgewise = (CROSS,)
    outlives = True
    gradient_formula: ClassVar[str] = "1 + deg"

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.direction = KeptDirection(settings.rule, self.layout, self.state.rows)

    @classmethod
    def needs(cls, settings: AlgorithmSettings) -> tuple[str, ...]:
        return (*super().needs(settings), "symmetric", "static")

    def round(self, X: Tensor) -> Tensor:
        X, W, a = self.mix(X), self.topology.at(self.t), self.settings.cross_weight
        theirs, crossing = [self.neighbours(i) for i in self.agents], self.outgoing(CROSS)
        edges = [(i, j) for i, rows in zip(self.agents, theirs, strict=True) for j in rows]
        # g_ii first: an agent's loss and its statistics are those at its own parameters.
        self.clipped_gradients(self.agents, X, self.G)
        rows = [row for neighbours in theirs for row in neighbours.values()]
        self.clipped_gradients([i for i, _ in edges], rows, [crossing[edge] for edge in edges])
        for i, g in zip(self.agents, self.G, strict=True):
            self.keep(i, g, CROSS)
            g.mul_(W.self_weights[i])
            if a < 1:
                for j, weight in zip(W.neighbours[i], W.weights[i], strict=True):
                    g.add_(crossing[i, j], alpha=(1 - a) * weight)
        arrived = self.swap(CROSS)
        for i, g in zip(self.agents, self.G, strict=True):
            for j, weight in zip(W.neighbours[i], W.weights[i], strict=True):
                g.add_(arrived[j, i], alpha=a * weight)
        self.decay(self.G, X)
        return X.sub_(self.direction(self.G, X, self.t, self.lr), alpha=self.lr)


class NSaddle(SharpnessAware, NGC):
    """N-SADDLe [Choudhary, Aketi and Roy 2024]: neighbourhood gradient clustering with SAM's gradients.

    As `ngc`, with every g_ii and g_ij, taken at x = x̃_i or x_j, replaced by

        s = ∇F_i(x; B);   e = ρ s/(‖s‖₂ + 1e-12);   clip(∇F_i(x + e; B))

    Rebuilt from its parts, SAM [Foret et al. 2021] and `ngc`, since the body of the paper could not be read. Find ρ by
    a sweep from 0.01 to 0.2; ρ = 0 is `ngc`.
    """

    class Settings(NGC.Settings, SharpnessSettings):
        rho: float = Field(0.05, ge=0, description="ρ, how far SAM looks uphill for its gradient; 0: plain gradients")

    settings: Settings
    plain_alone = False
