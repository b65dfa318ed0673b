"""Centralized SGD."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.algorithms.base import Surroundings
from mpidl.algorithms.direction import DirectionSettings, make_direction
from mpidl.algorithms.federated.base import Federated, FederatedSettings

if TYPE_CHECKING:
    from torch import Tensor


class CSGD(Federated):
    """Centralized SGD, the baseline of every comparison.

        x⁺ = x − η direction(Σ_i p_i ∇F_i(x))

    One replicated x and one momentum; every agent takes part in every round with one batch.
    """

    class Settings(FederatedSettings, DirectionSettings):
        pass

    settings: Settings

    def __init__(self, settings: Settings, given: Surroundings) -> None:
        super().__init__(settings, given)
        self.direction = make_direction(settings, self.state.server)

    def round(self, x: Tensor) -> None:
        self.announce(x.expand(len(self.agents), -1))
        g = self.average(lambda agent, out: self.gradient_of(agent, x, out))
        x.sub_(self.direction(g), alpha=self.lr)
