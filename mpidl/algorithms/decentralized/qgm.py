"""Quasi-global momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.algorithms.direction import MomentumSettings

if TYPE_CHECKING:
    from torch import Tensor


class QGM(Decentralized):
    """Quasi-global momentum [Lin et al. 2021, Algorithm 1]: momentum along the way that the mixed model really takes.

        g = ∇F_i(x) + λx;   m = μ m̂ + g;   d = g + μm (Nesterov) or m
        x⁺ = mix(x − ηd);   m̂⁺ = μ̂ m̂ + (1 − μ̂)(x − x⁺)/η

    m̂ starts at 0, and μ̂ is μ unless set. Exact; where η = 0 a round mixes and keeps m̂. Some public code adds the whole
    (x − x⁺)/η to m̂, without the factor 1 − μ̂: another algorithm.
    """

    class Settings(AlgorithmSettings, MomentumSettings):
        momentum: float = Field(0.9, ge=0, lt=1, description="μ in m = μm̂ + g")
        global_momentum: float | None = Field(None, ge=0, lt=1, description="μ̂ in the update of m̂; null: μ")

    settings: Settings
    plain_alone = False
    outlives = True

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.m = self.state.rows("quasi-global momentum")

    def round(self, X: Tensor) -> Tensor:
        mu, mu_hat = self.settings.momentum, self.settings.global_momentum
        mu_hat = mu if mu_hat is None else mu_hat
        G = self.gradient(X)
        D = self.draft().copy_(self.m).mul_(mu).add_(G)
        if self.settings.nesterov:
            D.mul_(mu).add_(G)
        X_new = self.mix(D.mul_(-self.lr).add_(X))
        if self.lr:
            # The block of the old X is free from here on.
            self.m.mul_(mu_hat).add_(X.sub_(X_new), alpha=(1 - mu_hat) / self.lr)
        return X_new
