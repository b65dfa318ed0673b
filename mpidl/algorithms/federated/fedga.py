"""FedGA."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mpidl.algorithms.base import Context
from mpidl.algorithms.federated.fedavg import FedAvg
from mpidl.metrics import Metric

if TYPE_CHECKING:
    from torch import Tensor


class FedGA(FedAvg):
    """Federated gradient alignment [Dandi, Barba, Jaggi 2022, Algorithm 1].

        g_i = ∇F_i(x) over all data of the agent;   ḡ = Σ_S p_i g_i
        y_i = x + β (g_i − ḡ);   K local steps from y_i;   x ← server(x, Σ_S p_i (y_i − x))

    With `displacement: every-step`, y starts at x and every gradient is taken at y + β (g_i − ḡ) instead. Both act as
    β/2 − a(K − 1)/4 times T = Σ_S p_i ‖g_i − ḡ‖² added to f (`net_regularizer`): drift of the local steps takes away
    from what β adds, and more than that in the published EMNIST setting (−0.1). β is aK/2 by default, which mimics
    sequential SGD. One set of weights serves all sums.
    """

    class Settings(FedAvg.Settings):
        weighting: Literal["uniform", "data"] = Field(
            "uniform", description="the weights p_i of every average over agents: equal, or by the size of their data"
        )
        beta: float | None = Field(None, ge=0, description="displacement β; null: lr · K/2, K the mean over agents")
        displacement: Literal["once", "every-step"] = Field(
            "once", description="whether agents start displaced, or take each gradient at a displaced point"
        )

    settings: Settings
    gradient_formula: ClassVar[str] = "K and a pass"
    downloads = 2
    surveys = 1
    metrics = (
        *FedAvg.metrics,
        Metric("net_regularizer", "1", "β/2 − a(K − 1)/4, what the variance of agents' gradients weighs in the round"),
    )

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.g = self.shelf()
        self._scale = 0.0

    def survey(self, agent: int, x: Tensor, out: Tensor) -> None:
        self.whole_gradient(agent, x, self.g[agent])
        out[0].copy_(self.g[agent])

    def prepare(self, x: Tensor) -> None:
        self._scale = self._beta(self._mean_steps())

    def begin(self, agent: int, x: Tensor, y: Tensor) -> None:
        """y ← x, displaced; from here on the shelf holds β (g_i − ḡ)."""
        displacement = self.g[agent].sub_(self.surveyed[0]).mul_(self._scale)
        y.copy_(x)
        if self.settings.displacement == "once":
            y.add_(displacement)

    def point(self, agent: int, y: Tensor, x: Tensor) -> Tensor:
        return y if self.settings.displacement == "once" else y + self.g[agent]

    def server(self, x: Tensor, total: Tensor) -> None:
        super().server(x, total)
        self.g.clear()

    def server_diagnostics(self) -> dict[str, float]:
        steps = self._mean_steps()
        return super().server_diagnostics() | {"net_regularizer": _net(self._beta(steps), self.lr, steps)}

    def warnings(self) -> tuple[str, ...]:
        beta, lr, steps = self.settings.beta, self.settings.lr, self._mean_steps()
        net = _net(beta, lr, steps) if beta is not None else 0.0
        if net >= 0:
            return super().warnings()
        return (
            *super().warnings(),
            f"with {steps:g} local steps, gradients of agents grow apart rather than align: beta/2 - lr(K - 1)/4 is "
            f"{net:.3g}; aligning needs a beta above {lr * (steps - 1) / 2:.3g}",
        )

    def _beta(self, steps: float) -> float:
        return self.lr * steps / 2 if self.settings.beta is None else self.settings.beta

    def _mean_steps(self) -> float:
        """K, the weighted mean over those who take part."""
        crew = self.crew
        return sum(p * len(self.steps(agent)) for agent, p in zip(crew.agents, crew.weights, strict=True))


def _net(beta: float, lr: float, steps: float) -> float:
    return beta / 2 - lr * (steps - 1) / 4
