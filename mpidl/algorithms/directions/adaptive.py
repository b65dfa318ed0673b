"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from mpidl.algorithms.directions.base import Direction

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.layout import Layout


class Adam(Direction):
    """Adam [Kingma and Ba 2015, Algorithm 1], as torch.optim.Adam computes it.

        m = β₁m + (1 − β₁)g;  v = β₂v + (1 − β₂)g²;  d = [m/(1 − β₁ˢ)] / [√(v/(1 − β₂ˢ)) + ε]

    in step s = 1, 2, …. The algorithm's `weight_decay` is part of g, as L2 regularisation is.
    """

    beta1: float = Field(0.9, ge=0, lt=1, description="β₁, decay of the mean of gradients")
    beta2: float = Field(0.999, ge=0, lt=1, description="β₂, decay of the mean of their squares")
    epsilon: float = Field(1e-8, ge=0, description="ε beside the square root")

    @property
    def remembers(self) -> tuple[str, ...]:
        return ("first moment", "second moment")

    def along(self, g: Tensor, x: Tensor, memory: Mapping[str, Tensor], step: int, lr: float, layout: Layout) -> Tensor:
        import torch

        m = memory["first moment"].mul_(self.beta1).add_(g, alpha=1 - self.beta1)
        v = memory["second moment"].mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
        bias1, bias2 = 1 - self.beta1 ** (step + 1), 1 - self.beta2 ** (step + 1)
        # All of it in the memory of g, which is read for the last time above.
        root = torch.sqrt(v, out=g).div_(bias2**0.5).add_(self.epsilon)
        return torch.div(m, root, out=g).div_(bias1)


class AdamW(Adam):
    """AdamW [Loshchilov and Hutter 2019]: Adam with decoupled weight decay, d = Adam's d + λx.

    Its λ is `weight_decay` here; the algorithm's `weight_decay` would be coupled, and is best left at 0.
    """

    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay λ: adds λx to the direction")

    def along(self, g: Tensor, x: Tensor, memory: Mapping[str, Tensor], step: int, lr: float, layout: Layout) -> Tensor:
        return super().along(g, x, memory, step, lr, layout).add_(x, alpha=self.weight_decay)
