"""Decentralized SGD."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from mpidl.algorithms.base import Context
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.algorithms.direction import DirectionSettings, KeptDirection
from mpidl.algorithms.sharpness import SharpnessAware, SharpnessSettings
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


class DSGD(SharpnessAware, Decentralized):
    """Decentralized SGD [Lian et al. 2017, Algorithm 1; Zhu et al. 2023].

    D = direction(∇F(X)), and by `order`:

        adapt-then-combine           X⁺ = mix(X − η D(X))
        adapt-while-communicate      X⁺ = mix(X) − η D(X)          Lian's Algorithm 1, and the order of Zhu's theorem
        combine-then-adapt           Y = mix(X);  X⁺ = Y − η D(Y)

    In the second order, messages can travel while the gradient is computed. Momentum is local and never mixed.

    With `local_steps` H, the first order takes H steps X ← X − η D(X) before it mixes: local SGD over a graph
    [Koloskova et al. 2020], one message for H gradients. Round t steps along batches tH, …, tH + H − 1.

    With `rho`, gradients are those of SAM; see `q-saddle` for their equations.
    """

    class Settings(SharpnessSettings, DirectionSettings):
        order: Literal["adapt-then-combine", "adapt-while-communicate", "combine-then-adapt"] = Field(
            "adapt-then-combine", description="whether a round steps before, during or after mixing"
        )
        local_steps: PositiveInt = Field(1, description="H, steps between two mixings; above 1 in the first order only")

        @model_validator(mode="after")
        def _local_steps_come_before_mixing(self) -> Self:
            if self.local_steps > 1 and self.order != "adapt-then-combine":
                raise ConfigError(f"is for the order adapt-then-combine, not {self.order}", "local_steps")
            return self

        def rounds_per_epoch(self, steps_per_epoch: int) -> float:
            return steps_per_epoch / self.local_steps

    settings: Settings
    in_place = ("parameters",)
    outlives = True
    gradient_formula: ClassVar[str] = "H"

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._direction = KeptDirection(settings.rule, self.layout, self.state.rows)

    def direction(self, X: Tensor, step: int) -> Tensor:
        """D(X), on the batches of that step."""
        return self._direction(self.gradient(X, step), X, step, self.lr)

    def round(self, X: Tensor) -> Tensor:
        t, H = self.t, self.settings.local_steps
        if self.settings.order == "adapt-then-combine":
            for step in range(t * H, t * H + H):
                X.sub_(self.direction(X, step), alpha=self.lr)
            return self.mix(X)
        if self.settings.order == "adapt-while-communicate":
            self.send(X)
            D = self.direction(X, t)
            return self.receive().sub_(D, alpha=self.lr)
        Y = self.mix(X)
        return Y.sub_(self.direction(Y, t), alpha=self.lr)
