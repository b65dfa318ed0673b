"""Every number in another type, packed as they follow in the row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from mpidl.compressors.base import NOTHING, Codec, Draw, beyond_range
from mpidl.compressors.pieces import Scratch, block_length

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.layout import Layout

# The exponent of infinities and NaN, as the bits of the number read as an integer.
_EXPONENT = {
    torch.bfloat16: (torch.int16, 0x7F80),
    torch.float16: (torch.int16, 0x7C00),
    torch.float32: (torch.int32, 0x7F800000),
    torch.float64: (torch.int64, 0x7FF0000000000000),
}


class CastCodec(Codec):
    """Rows of `dtype`, as `wire` on their way."""

    def __init__(self, layout: Layout, wire: torch.dtype, dtype: torch.dtype, device: torch.device) -> None:
        self._wire, self._dtype = wire, dtype
        self._block = min(block_length(device), layout.size)
        self._scratch = Scratch(self._block, device)
        self.nbytes = layout.size * wire.itemsize

    def pack(self, row: Tensor, out: Tensor, draw: Draw, memory: Mapping[str, Tensor] = NOTHING) -> None:
        integer, exponent = _EXPONENT[self._wire]
        for values, packed in self._blocks(row, out):
            packed.copy_(values)
            exponents = torch.bitwise_and(
                packed.view(integer), exponent, out=self._scratch("exponents", integer, len(packed))
            )
            if exponents.amax() == exponent:
                raise beyond_range()

    def add(self, packed: Tensor, out: Tensor, weight: float, draw: Draw) -> None:
        for values, part in self._blocks(out, packed):
            # Product and sum are rounded at once in some places of a vector register only; these are places in a block.
            values.add_(self._scratch("numbers", self._dtype, len(part)).copy_(part), alpha=weight)

    def unpack(self, packed: Tensor, out: Tensor, draw: Draw) -> None:
        out.copy_(packed.view(self._wire))

    def _blocks(self, row: Tensor, packed: Tensor) -> zip[tuple[Tensor, Tensor]]:
        if not self.nbytes:
            return zip((), (), strict=True)
        return zip(row.split(self._block), packed.view(self._wire).split(self._block), strict=True)
