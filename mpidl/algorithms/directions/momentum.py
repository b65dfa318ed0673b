"""SGD with and without momentum, in the convention of torch.optim.SGD: m = μm + g, without dampening."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from mpidl.algorithms.directions.base import Direction
from mpidl.errors import ConfigError
from mpidl.registry import Part

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.layout import Layout


class MomentumKeys(Part):
    """The keys of SGD with momentum, as a direction by itself or as keys of an algorithm."""

    momentum: float = Field(0.0, ge=0, lt=1, description="μ in m = μm + g (no dampening)")
    nesterov: bool = Field(False, description="step along g + μm instead of m")

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ConfigError("Nesterov's step needs momentum above 0", "nesterov")
        return self


class SGD(MomentumKeys, Direction):
    """m = μm + g; d = g + μm (Nesterov) or d = m; without momentum d = g."""

    @property
    def remembers(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def along(self, g: Tensor, x: Tensor, memory: Mapping[str, Tensor], step: int, lr: float, layout: Layout) -> Tensor:
        if not self.momentum:
            return g
        m = memory["momentum"].mul_(self.momentum).add_(g)
        return g.add_(m, alpha=self.momentum) if self.nesterov else m


class Nesterov(SGD):
    """m = μm + g; d = g + μm: sgd with these two settings."""

    momentum: float = Field(0.9, gt=0, lt=1, description="μ in m = μm + g (no dampening)")
    nesterov: bool = Field(True, description="step along g + μm instead of m")
