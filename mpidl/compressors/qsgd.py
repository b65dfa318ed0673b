"""Numbers rounded at random to multiples of a step, packed as [the step of each piece][the multiples, b bits each]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from mpidl.compressors.base import NOTHING, Codec, Draw, Per, beyond_range
from mpidl.compressors.levels import Levels
from mpidl.compressors.pieces import Block, Pieces, block_length
from mpidl.seeding import torch_seed

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.layout import Layout

# The least step: the squares of numbers below are not normal numbers, so that no norm can be told from them.
_LEAST = {torch.float32: 2.0**-63, torch.float64: 2.0**-511}


class QSGDCodec(Codec):
    """Multiples of norm/s; `shrinks` are what the pieces are scaled by, empty for nothing.

    A number is taken as a whole number of 2^−16 steps; a random one from 0 to 2^16 − 1 is added, and the last 16 bits
    are cut off (15 bits, where a multiple has 16). Steps are a little larger than norm/s, so that rounding leads no
    multiple beyond s, and at least 2^−63 (2^−511 in float64); since sender and receiver use the same step, no mean is
    moved by that.
    """

    def __init__(
        self,
        layout: Layout,
        dtype: torch.dtype,
        device: torch.device,
        bits: int,
        shrinks: tuple[float, ...],
        per: Per,
    ) -> None:
        self._pieces = Pieces(layout, per, block_length(device))
        self._dtype, self._device, self._shrinks = dtype, device, shrinks
        self._highest = 2 ** (bits - 1) - 1
        self._fraction = min(16, 31 - bits)
        self._levels = Levels(bits, layout.size)
        self._header = self._pieces.count * dtype.itemsize
        self.nbytes = self._header + self._levels.nbytes

    def pack(self, row: Tensor, out: Tensor, draw: Draw, memory: Mapping[str, Tensor] = NOTHING) -> None:
        header, levels = self._parts(out)
        norms = self._norms(row)
        if not norms.isfinite().all():
            raise beyond_range()
        steps = (norms / self._highest).clamp_(min=_LEAST[self._dtype]) * (1 + 8 * torch.finfo(self._dtype).eps)
        factors = (2**self._fraction / steps).to(self._dtype)
        words = self._random_words(draw)
        for block in self._pieces.blocks:
            fine = self._fine[: block.stop - block.start]
            fine.copy_(self._scaled(block, row[block.start : block.stop], factors))
            self._dither(fine, words)
            self._levels.write(fine.bitwise_right_shift_(self._fraction), levels, block.start)
        header.copy_(steps * self._shrunk if self._shrinks else steps)

    def add(self, packed: Tensor, out: Tensor, weight: float, draw: Draw) -> None:
        steps, levels = self._parts(packed)
        factors = steps * weight
        for block in self._pieces.blocks:
            multiples = self._levels.read(levels, block.start, block.stop)
            out[block.start : block.stop].add_(self._scaled(block, multiples, factors))

    def unpack(self, packed: Tensor, out: Tensor, draw: Draw) -> None:
        steps, levels = self._parts(packed)
        for block in self._pieces.blocks:
            multiples = self._levels.read(levels, block.start, block.stop)
            out[block.start : block.stop].copy_(self._scaled(block, multiples, steps))

    def _norms(self, row: Tensor) -> Tensor:
        squares = torch.zeros(self._pieces.count, dtype=torch.float64, device=self._device)
        for block in self._pieces.blocks:
            self._pieces.collect(squares, block, row[block.start : block.stop], _add_squares)
        return squares.sqrt_()

    def _scaled(self, block: Block, values: Tensor, factors: Tensor) -> Tensor:
        scaled = self._real[: len(values)].copy_(values)
        self._pieces.scale(block, scaled, factors)
        return scaled

    def _random_words(self, draw: Draw) -> Callable[[int], Tensor]:
        """Gives so many random words of 32 bits at each call."""
        if self._device.type == "cpu":
            raw = draw.stream().bit_generator.random_raw
            return lambda count: torch.from_numpy(raw((count + 1) // 2).view(np.int32))[:count]
        seed = torch_seed(draw.seed, draw.purpose, draw.agent, draw.index)
        generator = torch.Generator(self._device).manual_seed(seed)
        return lambda count: torch.randint(
            -(2**31), 2**31, (count,), dtype=torch.int32, device=self._device, generator=generator
        )

    def _dither(self, fine: Tensor, words: Callable[[int], Tensor]) -> None:
        """Adds to each number a random one of as many bits as will be cut off.

        A word serves four numbers, a quarter of the block apart: bits 0 to 15 the first, 8 to 23 the second, 16 to 31
        the third, and 24 to 31 with 0 to 7 the fourth. Each is uniform by itself; two that share eight bits have a
        correlation of 1/256.
        """
        quarter = (len(fine) + 3) // 4
        word = words(quarter)
        for place in range(4):
            part = fine[place * quarter : (place + 1) * quarter]
            shifted = (word >> 8 * place) if place < 3 else (word << 8) | ((word >> 24) & 0xFF)
            part.add_(shifted[: len(part)].bitwise_and_(2**self._fraction - 1))

    def _parts(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        return packed[: self._header].view(self._dtype), packed[self._header :]

    @cached_property
    def _shrunk(self) -> Tensor:
        return torch.tensor(self._shrinks, dtype=torch.float64, device=self._device)

    @cached_property
    def _real(self) -> Tensor:
        return torch.empty(self._pieces.longest, dtype=self._dtype, device=self._device)

    @cached_property
    def _fine(self) -> Tensor:
        return torch.empty(self._pieces.longest, dtype=torch.int32, device=self._device)


def _add_squares(totals: Tensor, rows: Tensor) -> None:
    totals.add_(torch.linalg.vector_norm(rows, dim=1).double().square_())
