"""From a gradient to the direction of a step: momentum, in the convention of torch.optim.SGD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from pydantic import Field, model_validator

from mpidl.errors import ConfigError
from mpidl.registry import Part

if TYPE_CHECKING:
    from collections.abc import Callable

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
    def __call__(self, g: Tensor) -> Tensor: ...


def make_direction(settings: DirectionSettings, declare: Callable[[str], Tensor]) -> Direction:
    """direction(g) with its momentum in state that `declare` provides: rows for agents, one vector for a server.

    The result may be `g` itself or live in `g`'s memory; it is valid until the next call.
    """
    mu = settings.momentum
    if not mu:
        return lambda g: g
    m = declare("momentum")

    def momentum(g: Tensor) -> Tensor:
        m.mul_(mu).add_(g)
        return g.add_(m, alpha=mu) if settings.nesterov else m

    return momentum
