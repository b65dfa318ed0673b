"""FedNova."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mpidl.algorithms.federated.averaging import Averaging

if TYPE_CHECKING:
    from torch import Tensor


class FedNova(Averaging):
    """Normalized averaging [Wang et al. 2020, Algorithm 1]: agents weigh by their data, not by the steps they took.

        G_i = x − y_i after K_i local steps;   x ← server(x, −(Σ_S p_i n̂_i) Σ_S p_i G_i/n̂_i)

    n̂_i is what the steps make of gradients that are all 1, by the recursion of the step itself from n = 0 = l: K_i for
    plain steps; l ← ρl + 1, n ← n + l with momentum ρ; n ← (1 − aμ) n + 1 with a proximal term μ; both at once, or
    Nesterov's step, alike. Momentum starts at zero in each round, else there is no such number.
    """

    class Settings(Averaging.Settings):
        mu: float = Field(0.0, ge=0, description="μ of a proximal term μ(y − x), as in fedprox")
        local_momentum: Literal["reset"] = Field("reset", description="momentum starts at zero in each round")

    settings: Settings
    outlives = True

    def local_gradient(self, agent: int, y: Tensor, x: Tensor, g: Tensor, step: int) -> None:
        if self.settings.mu:
            g.add_(y, alpha=self.settings.mu).sub_(x, alpha=self.settings.mu)

    def upload(self, agent: int, y: Tensor, x: Tensor, out: Tensor) -> None:
        super().upload(agent, y, x, out)
        out[0].div_(self.normaliser(agent))

    def server(self, x: Tensor, total: Tensor) -> None:
        crew = self.crew
        steps = sum(p * self.normaliser(agent) for agent, p in zip(crew.agents, crew.weights, strict=True))
        self.move(x, total[0].mul_(steps))

    def normaliser(self, agent: int) -> float:
        """n̂_i of the present round."""
        rho, shrink = self.settings.momentum, self.lr * self.settings.mu
        n = momentum = 0.0
        for _ in self.steps(agent):
            gradient = 1 - shrink * n
            momentum = rho * momentum + gradient
            n += gradient + rho * momentum if self.settings.nesterov else momentum
        return n
