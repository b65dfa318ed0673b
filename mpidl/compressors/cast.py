"""Every number in another type, packed as they follow in the row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from mpidl.compressors.base import NOTHING, Codec, Draw, beyond_range
from mpidl.compressors.pieces import BlockScratch, block_length

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.layout import Layout


class CastCodec(Codec):
    """Rows of `dtype`, as `wire` on their way."""

    def __init__(self, layout: Layout, wire: torch.dtype, dtype: torch.dtype, device: torch.device) -> None:
        self._wire, self._dtype = wire, dtype
        self._block = min(block_length(device), layout.size)
        self._scratch = BlockScratch(self._block, device)
        self.nbytes = layout.size * wire.itemsize

    def pack(self, row: Tensor, out: Tensor, draw: Draw, memory: Mapping[str, Tensor] = NOTHING) -> None:
        for values, packed in self._blocks(row, out):
            packed.copy_(values)
            # Whatever is not finite makes the sum so, which is read faster than number by number.
            if not packed.sum().isfinite() and not packed.isfinite().all():
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
