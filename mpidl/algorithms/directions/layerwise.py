"""LARS and LAMB, which scale the step of each tensor to the size of the tensor; made for large batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from mpidl.algorithms.directions.adaptive import AdamW
from mpidl.algorithms.directions.base import Direction

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.layout import Layout


class LARS(Direction):
    """LARS [You, Gitman and Ginsburg 2017, Algorithm 1].

    For each tensor w of the row, with u its part of the gradient, the algorithm's weight decay λw included:

        r = η_L ‖w‖ / (‖u‖ + ε), or 1 where a norm is 0;  m = μm + η r u;  w⁺ = w − m

    The learning rate is inside the momentum, so what was stepped along at one rate goes on at that rate; d = m/η.
    Where η = 0 nothing moves.
    """

    trust: float = Field(0.001, gt=0, description="η_L, the share of a tensor's norm that its step may have")
    momentum: float = Field(0.9, ge=0, lt=1, description="μ in m = μm + ηru")
    epsilon: float = Field(1e-8, ge=0, description="ε beside the gradient's norm")

    @property
    def remembers(self) -> tuple[str, ...]:
        return ("momentum",)

    def along(self, g: Tensor, x: Tensor, memory: Mapping[str, Tensor], step: int, lr: float, layout: Layout) -> Tensor:
        import torch

        scale_to_tensors(g, x, layout, self.trust, self.epsilon)
        m = memory["momentum"].mul_(self.momentum).add_(g, alpha=lr)
        return torch.div(m, lr, out=g) if lr else g.zero_()


class LAMB(AdamW):
    """LAMB [You et al. 2020, Algorithm 2], with φ(z) = z.

    For each tensor w of the row, with u its part of AdamW's direction: d = u ‖w‖/‖u‖, or u where a norm is 0.
    """

    epsilon: float = Field(1e-6, ge=0, description="ε beside the square root")

    def along(self, g: Tensor, x: Tensor, memory: Mapping[str, Tensor], step: int, lr: float, layout: Layout) -> Tensor:
        return scale_to_tensors(super().along(g, x, memory, step, lr, layout), x, layout)


def scale_to_tensors(u: Tensor, x: Tensor, layout: Layout, trust: float = 1.0, epsilon: float = 0.0) -> Tensor:
    """Multiply each tensor's part of u, row or block, by trust·‖w‖/(‖u‖ + ε), or by 1 where a norm is 0; in place."""
    import torch

    for row, point in zip(u.unsqueeze(0) if u.ndim == 1 else u, x.unsqueeze(0) if x.ndim == 1 else x, strict=True):
        # Row by row and tensor by tensor, so that no bit depends on how many agents are here; on the device.
        pieces = tuple(layout.pieces(row))
        steps = torch.stack([piece.norm() for piece in pieces])
        sizes = torch.stack([piece.norm() for piece in layout.pieces(point)])
        ratios = torch.where((sizes > 0) & (steps > 0), trust * sizes / (steps + epsilon), 1.0)
        for piece, ratio in zip(pieces, ratios, strict=True):
            piece.mul_(ratio)
    return u
