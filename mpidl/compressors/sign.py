"""Signs and scales, packed as [a scale per piece][a bit per number, 1 below zero]."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from mpidl.compressors import bits
from mpidl.compressors.base import NOTHING, Codec, Draw, Per, beyond_range
from mpidl.compressors.pieces import Block, Pieces, block_length, byte_count

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.layout import Layout


class SignCodec(Codec):
    """± ‖v‖₁/d of each piece."""

    def __init__(self, layout: Layout, dtype: torch.dtype, device: torch.device, per: Per) -> None:
        self._pieces = Pieces(layout, per, block_length(device))
        self._dtype, self._device = dtype, device
        self._header = self._pieces.count * dtype.itemsize
        self.nbytes = self._header + byte_count(layout.size)

    def pack(self, row: Tensor, out: Tensor, draw: Draw, memory: Mapping[str, Tensor] = NOTHING) -> None:
        scales, signs = self._parts(out)
        sums = torch.zeros(self._pieces.count, dtype=torch.float64, device=self._device)
        for block in self._pieces.blocks:
            values = row[block.start : block.stop]
            bits.pack_signs(values, signs[block.start // 8 : byte_count(block.stop)])
            magnitudes = torch.abs(values, out=self._scratch[: len(values)])
            self._pieces.collect(sums, block, magnitudes, lambda total, rows: total.add_(rows.sum(1)))
        if not sums.isfinite().all():
            raise beyond_range()
        scales.copy_(sums / self._sizes)

    def add(self, packed: Tensor, out: Tensor, weight: float, draw: Draw) -> None:
        scales, signs = self._parts(packed)
        factors = scales * weight
        for block in self._pieces.blocks:
            out[block.start : block.stop].add_(self._decoded(block, signs, factors))

    def unpack(self, packed: Tensor, out: Tensor, draw: Draw) -> None:
        scales, signs = self._parts(packed)
        for block in self._pieces.blocks:
            out[block.start : block.stop].copy_(self._decoded(block, signs, scales))

    def _decoded(self, block: Block, signs: Tensor, factors: Tensor) -> Tensor:
        part = signs[block.start // 8 : byte_count(block.stop)]
        single = self._pieces.count == 1
        bits.write_signs(part, factors if single else 1.0, self._scratch[: 8 * len(part)])
        values = self._scratch[: block.stop - block.start]
        if not single:
            self._pieces.scale(block, values, factors)
        return values

    def _parts(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        return packed[: self._header].view(self._dtype), packed[self._header :]

    @cached_property
    def _scratch(self) -> Tensor:
        return torch.empty(8 * byte_count(self._pieces.longest), dtype=self._dtype, device=self._device)

    @cached_property
    def _sizes(self) -> Tensor:
        return torch.tensor(self._pieces.sizes, dtype=torch.float64, device=self._device)
