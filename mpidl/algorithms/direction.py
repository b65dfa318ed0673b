"""The direction that an algorithm steps along: the keys that choose it, and the direction with what it remembers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from mpidl.algorithms.directions import DIRECTIONS
from mpidl.algorithms.directions.base import Direction
from mpidl.algorithms.directions.momentum import SGD, MomentumKeys
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.layout import Layout


class MomentumSettings(MomentumKeys):
    """Keys of algorithms that step along a gradient with momentum."""

    @property
    def rule(self) -> Direction:
        """The direction that the keys ask for."""
        return SGD(name="sgd", momentum=self.momentum, nesterov=self.nesterov)


class DirectionSettings(MomentumSettings):
    """Keys of algorithms that step along any direction; `momentum` and `nesterov` are short for those of sgd."""

    direction: Annotated[Direction, DIRECTIONS] = Field(
        SGD(name="sgd"), description="what a gradient becomes before the step: a name, or a mapping with its settings"
    )

    @model_validator(mode="after")
    def _momentum_is_given_once(self) -> Self:
        if self.momentum and self.direction != SGD(name="sgd"):
            raise ConfigError(
                "is short for 'direction: {name: sgd, momentum: …}', and a direction is given; remove one of them",
                "momentum",
            )
        return self

    @property
    def rule(self) -> Direction:
        return super().rule if self.momentum else self.direction


class KeptDirection:
    """A direction together with what it remembers, in rows or blocks that `declare` makes (`self.state.rows`)."""

    def __init__(self, rule: Direction, layout: Layout, declare: Callable[[str], Tensor]) -> None:
        self._rule, self._layout = rule, layout
        self._memory = {name: declare(name) for name in rule.remembers}

    def __call__(self, g: Tensor, x: Tensor, step: int, lr: float) -> Tensor:
        """The direction at x, where the gradient is g, after so many steps; see `Direction.along`."""
        return self._rule.along(g, x, self._memory, step, lr, self._layout)
