"""Compressed gossip with error feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.comm.gossip.schemes.direct import DirectExchange
from mpidl.comm.gossip.schemes.packed import Packing

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.schemes.base import Ground
    from mpidl.compressors.base import Add


class DeepSqueeze(Packing):
    """Error feedback [Tang et al. 2019, DeepSqueeze]; e⁰ = 0.

    v = z + e;   c = C(v);   e = v − c;   z⁺ = z_i + γ (Σ_j w_ij c_j − c_i)
    """

    feeds_back = True
    outlives = True

    def exchange(self, ground: Ground, name: str, blocks: int = 2, readable: bool = False) -> DeepSqueezeExchange:
        return DeepSqueezeExchange(ground, name, self.gamma, blocks, readable)


class DeepSqueezeExchange(DirectExchange):
    """e is kept by agent; neighbours know c_j of a row."""

    def __init__(self, ground: Ground, name: str, gamma: float, blocks: int, readable: bool) -> None:
        super().__init__(ground, name, gamma, blocks, readable)
        self._errors = ground.state.rows(f"{name}: compression errors")

    def message(self, place: int, z: Tensor, out: Tensor) -> Tensor:
        return self._errors[place].add_(z)

    def remember(self, place: int, v: Tensor, add: Add) -> None:
        add(v, -1.0)
