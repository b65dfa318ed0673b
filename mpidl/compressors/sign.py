"""Signs and scales, packed as [a scale per piece][a bit per number, 1 below zero]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from mpidl.compressors import bits
from mpidl.compressors.base import NOTHING, Codec, Draw, Per, beyond_range
from mpidl.compressors.pieces import Block, Pieces
from mpidl.compressors.sizes import byte_count

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.layout import Layout


class SignCodec(Codec):
    """± ‖v‖₁/d of each piece."""

    def __init__(self, layout: Layout, dtype: torch.dtype, device: torch.device, per: Per) -> None:
        self._pieces = Pieces(layout, per, device)
        self._dtype, self._device = dtype, device
        self._header = self._pieces.count * dtype.itemsize
        self.nbytes = self._header + byte_count(layout.size)

    def pack(self, row: Tensor, out: Tensor, draw: Draw, memory: Mapping[str, Tensor] = NOTHING) -> None:
        scratch = self._pieces.scratch
        scales, signs = self._parts(out)
        sums = torch.zeros(self._pieces.count, dtype=torch.float64, device=self._device)
        for block in self._pieces.blocks:
            values = block.of(row)
            bits.pack_negative(values, block.octets(signs))
            magnitudes = torch.abs(values, out=scratch("numbers", self._dtype, block.length))
            self._pieces.collect(sums, block, magnitudes, _add_sums)
        if not sums.isfinite().all():
            raise beyond_range()
        scales.copy_(sums / self._sizes)

    def add(self, packed: Tensor, out: Tensor, weight: float, draw: Draw) -> None:
        for block, values in self._decoded(packed, weight):
            block.of(out).add_(values)

    def unpack(self, packed: Tensor, out: Tensor, draw: Draw) -> None:
        for block, values in self._decoded(packed, 1.0):
            block.of(out).copy_(values)

    def _decoded(self, packed: Tensor, weight: float) -> Iterator[tuple[Block, Tensor]]:
        """weight · C(row), a block at a time."""
        scales, signs = self._parts(packed)
        factors = scales * weight
        single = self._pieces.count == 1
        table = bits.signs(self._dtype, self._device) * (factors if single else 1.0)
        for block in self._pieces.blocks:
            octets = block.octets(signs)
            values = self._pieces.scratch("numbers", self._dtype, 8 * len(octets))
            bits.look_up(table, octets, values)
            values = values[: block.length]
            yield block, values if single else self._pieces.scale(block, values, factors, values)

    def _parts(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        return packed[: self._header].view(self._dtype), packed[self._header :]

    @cached_property
    def _sizes(self) -> Tensor:
        return torch.tensor(self._pieces.sizes, dtype=torch.float64, device=self._device)


def _add_sums(totals: Tensor, rows: Tensor) -> None:
    # Made float64 first: to add across types takes longer than to sum a block.
    totals.add_(rows.sum(1).double())
