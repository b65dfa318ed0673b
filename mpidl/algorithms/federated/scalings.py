"""How the diagonal D of scaled local SGD follows from what agents measure, and what it makes of a step's divisor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Kind = Literal["adam", "rmsprop", "oasis", "adahessian"]


@dataclass(frozen=True)
class Scaling:
    """The rule of one kind. D itself is the caller's: D² of those that square what they are given, oasis's as it is."""

    kind: Kind
    beta: float
    floor: float
    floor_inside: bool

    def refresh(self, D: Tensor, H: Tensor, t: int, divisor: Tensor) -> None:
        """Have D take in H, the statistic number t from 0, and write D̂ into the divisor."""
        beta = self.beta
        if self.kind == "oasis":
            D.lerp_(H, 1 - beta if t else 1.0)
            divisor.copy_(D).abs_().clamp_(min=self.floor)
        else:
            keep = beta if self.kind == "rmsprop" else (beta - beta ** (t + 1)) / (1 - beta ** (t + 1))
            D.mul_(keep).addcmul_(H, H, value=1 - keep)
            divisor.copy_(D).sqrt_().clamp_(min=self.floor)
        if self.floor_inside:
            D.copy_(divisor if self.kind == "oasis" else divisor.square())


def draw_signs(random: np.random.Generator, out: Tensor) -> None:
    """Write ±1 with equal probability, for Hutchinson's estimate of a diagonal."""
    import numpy as np
    import torch

    count = out.numel()
    bits = np.unpackbits(np.frombuffer(random.bytes(-(-count // 8)), np.uint8), count=count).astype(np.int8)
    out.copy_(torch.from_numpy(2 * bits - 1))
