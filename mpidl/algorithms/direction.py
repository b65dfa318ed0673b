"""From a gradient to the direction of a step. What it remembers is kept by the caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, Self

from pydantic import Field, model_validator

from mpidl.errors import ConfigError
from mpidl.registry import Part

if TYPE_CHECKING:
    from torch import Tensor


class DirectionSettings(Part):
    """Keys of algorithms that step along direction(g)."""

    momentum: float = Field(0.0, ge=0, lt=1, description="μ in m = μm + g (no dampening)")
    nesterov: bool = Field(False, description="step along g + μm instead of m")

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ConfigError("Nesterov's step needs momentum above 0", "nesterov")
        return self


class Direction(Protocol):
    """direction(g): a function of the gradient, the point, what it remembers, and the number of steps before."""

    @property
    def remembers(self) -> tuple[str, ...]:
        """Names of what must be kept between steps: a vector of the gradient's shape each, zero before the first."""

    def __call__(self, g: Tensor, x: Tensor, memory: Mapping[str, Tensor], step: int) -> Tensor:
        """The direction at x, row or block; it may be `g` or lie in `memory`, and is valid until the next call."""


class Momentum:
    """m = μm + g; d = g + μm (Nesterov) or d = m, the convention of torch.optim.SGD; without momentum d = g."""

    def __init__(self, settings: DirectionSettings) -> None:
        self._mu, self._nesterov = settings.momentum, settings.nesterov

    @property
    def remembers(self) -> tuple[str, ...]:
        return ("momentum",) if self._mu else ()

    def __call__(self, g: Tensor, x: Tensor, memory: Mapping[str, Tensor], step: int) -> Tensor:
        if not self._mu:
            return g
        m = memory["momentum"].mul_(self._mu).add_(g)
        return g.add_(m, alpha=self._mu) if self._nesterov else m


def make_direction(settings: DirectionSettings) -> Direction:
    """The direction that the settings ask for."""
    return Momentum(settings)
