"""Decentralized SGD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.algorithms.direction import DirectionSettings, make_direction

if TYPE_CHECKING:
    from torch import Tensor


class DSGD(Decentralized):
    """Decentralized SGD [Lian et al. 2017, Algorithm 1; Zhu et al. 2023].

    D = direction(∇F(X)), and by `order`:

        adapt-then-combine           X⁺ = mix(X − η D(X))
        adapt-while-communicate      X⁺ = mix(X) − η D(X)          Lian's Algorithm 1, and the order of Zhu's theorem
        combine-then-adapt           Y = mix(X);  X⁺ = Y − η D(Y)

    In the second order, messages can travel while the gradient is computed. Momentum is local and never mixed.
    """

    class Settings(AlgorithmSettings, DirectionSettings):
        order: Literal["adapt-then-combine", "adapt-while-communicate", "combine-then-adapt"] = Field(
            "adapt-then-combine", description="whether a round steps before, during or after mixing"
        )

    settings: Settings
    in_place = ("parameters",)

    def __init__(self, settings: Settings, given: Context) -> None:
        super().__init__(settings, given)
        self._direction = make_direction(settings)
        self._memory = {name: self.state.rows(name) for name in self._direction.remembers}

    def direction(self, X: Tensor) -> Tensor:
        """D(X)."""
        return self._direction(self.gradient(X), X, self._memory, self.t)

    def round(self, X: Tensor) -> Tensor:
        if self.settings.order == "adapt-then-combine":
            return self.mix(X.sub_(self.direction(X), alpha=self.lr))
        if self.settings.order == "adapt-while-communicate":
            self.send(X)
            D = self.direction(X)
            return self.receive().sub_(D, alpha=self.lr)
        Y = self.mix(X)
        return Y.sub_(self.direction(Y), alpha=self.lr)
