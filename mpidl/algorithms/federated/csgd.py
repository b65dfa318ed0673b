"""Centralized SGD."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mpidl.algorithms.base import Context
from mpidl.algorithms.direction import DirectionSettings, KeptDirection
from mpidl.algorithms.federated.base import Federated, FederatedSettings
from mpidl.algorithms.sharpness import SharpnessAware, SharpnessSettings

if TYPE_CHECKING:
    from torch import Tensor


class CSGD(SharpnessAware, Federated):
    """Centralized SGD, the baseline of every comparison.

        x⁺ = x − η direction(Σ_i p_i ∇F_i(x))

    One replicated x and one momentum; every agent takes part in every round with one batch. With `rho`,
    gradients are those of SAM, each agent's at its own perturbed point; see `q-saddle` for their equations.
    """

    class Settings(FederatedSettings, SharpnessSettings, DirectionSettings):
        pass

    settings: Settings
    outlives = True

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.direction = KeptDirection(settings.rule, self.layout, self.state.server)
        self._together = context.together
        self._total = self.dense(1)[0]
        alone = context.together == 1
        self.G = self.yielded(1) if alone else self.state.scratch(context.together, *self.x.shape)

    def round(self, x: Tensor) -> None:
        g = self.sum_rows(self._weighted_gradients(x), self._total)
        x.sub_(self.direction(g, x, self.t, self.lr), alpha=self.lr)

    def _weighted_gradients(self, x: Tensor) -> Iterator[tuple[int, Tensor]]:
        """p_i ∇F_i(x) of the agents here, several at a time where that pays."""
        mine, crew = self.mine, self.crew
        for begin in range(0, len(mine), self._together):
            group = mine[begin : begin + self._together]
            G = self.G[: len(group)]
            self.gradients_at([crew.agents[p] for p in group], x.expand(len(group), -1), G)
            for position, g in zip(group, G, strict=True):
                yield position, g.mul_(crew.weights[position])
