"""FedProx."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from mpidl.algorithms.federated.fedavg import FedAvg

if TYPE_CHECKING:
    from torch import Tensor


class FedProx(FedAvg):
    """Federated averaging with a proximal term [Li et al. 2020, Algorithm 2].

    Agents descend F_i(y) + (μ/2)‖y − x‖²:  y ← y − a direction(∇F_i(y) + λ y + μ (y − x)).

    The term is written as its gradient, so that it cannot be lost in a graph of derivatives. μ = 0 is fedavg. With
    `straggler: {share: 0.5, epochs: random}` half of the agents do fewer passes, as in the paper's experiments.
    """

    class Settings(FedAvg.Settings):
        mu: float = Field(0.01, ge=0, description="μ, how strongly agents are held near the server's model")

    settings: Settings
    plain_alone = False

    def local_gradient(self, agent: int, y: Tensor, x: Tensor, g: Tensor, step: int) -> None:
        if self.settings.mu:
            g.add_(y, alpha=self.settings.mu).sub_(x, alpha=self.settings.mu)
