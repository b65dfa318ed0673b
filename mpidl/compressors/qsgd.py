"""Numbers rounded at random to multiples of a step, packed as [the step of each piece][the multiples, b bits each]."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from mpidl.compressors import bits
from mpidl.compressors.base import NOTHING, Codec, Draw, Per, beyond_range
from mpidl.compressors.levels import Levels
from mpidl.compressors.pieces import Block, Pieces
from mpidl.seeding import torch_seed

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.layout import Layout

# The least norm: the squares of numbers below are not normal numbers, so that no norm can be told from them.
_LEAST = {torch.float32: 2.0**-63, torch.float64: 2.0**-511}


class QSGDCodec(Codec):
    """Multiples of norm/s; `shrinks` are what the pieces are scaled by, empty for nothing.

    A number is taken as a whole number of 2^−16 steps (2^−15, where a multiple has 16 bits): the upper bits are the
    multiple below it, the lower ones the chance of the one above. Steps are a little larger than norm/s, and a norm
    counts as at least 2^−63 (2^−511 in float64), so that no step is zero; since sender and receiver use the same step,
    no mean is moved by that.
    """

    def __init__(
        self,
        layout: Layout,
        dtype: torch.dtype,
        device: torch.device,
        bits_each: int,
        shrinks: tuple[float, ...],
        per: Per,
    ) -> None:
        self._pieces = Pieces(layout, per, device)
        self._dtype, self._device, self._shrinks = dtype, device, shrinks
        self._highest = 2 ** (bits_each - 1) - 1
        self._fraction = min(16, 31 - bits_each)
        self._levels = Levels(bits_each, layout.size)
        self._header = self._pieces.count * dtype.itemsize
        self.nbytes = self._header + self._levels.nbytes

    def pack(self, row: Tensor, out: Tensor, draw: Draw, memory: Mapping[str, Tensor] = NOTHING) -> None:
        header, levels = self._parts(out)
        norms = torch.zeros(self._pieces.count, dtype=self._dtype, device=self._device)
        factors = torch.empty_like(norms)
        # Rounding leads no multiple beyond s.
        margin = 1 + 8 * torch.finfo(self._dtype).eps
        mark_above = self._marking(draw)
        for group in self._pieces.groups:
            for block in group.blocks:
                self._pieces.collect(norms, block, block.of(row), _add_norms)
            complete = norms[group.pieces].clamp_(min=_LEAST[self._dtype])
            torch.div(2**self._fraction * self._highest / margin, complete, out=factors[group.pieces])
            for block in group.blocks:
                self._write(block, self._fine(block, row, factors), levels, mark_above)
        if not norms.isfinite().all():
            raise beyond_range()
        header.copy_(norms.double() * (margin / self._highest) * (self._shrunk if self._shrinks else 1.0))

    def _fine(self, block: Block, row: Tensor, factors: Tensor) -> Tensor:
        """The block's numbers as whole numbers of fractions of a step."""
        real = self._pieces.scratch("real", self._dtype, block.length)
        self._pieces.scale(block, block.of(row), factors, real)
        return self._pieces.scratch("fine", torch.int32, block.length).copy_(real)

    def _write(self, block: Block, fine: Tensor, levels: Tensor, mark_above: Callable[[Tensor, Tensor], None]) -> None:
        scratch = self._pieces.scratch
        chances = scratch("chances", torch.int16, block.length).copy_(fine)
        if self._fraction < 16:
            chances.bitwise_left_shift_(16 - self._fraction)
        above = scratch("above", torch.bool, block.length)
        mark_above(chances, above)
        multiples = self._levels.sent_as_they_are(levels, block.start, block.stop)
        if multiples is None:
            multiples = scratch("multiples", self._levels.dtype, block.length)
        multiples.copy_(fine.bitwise_right_shift_(self._fraction)).add_(above.view(torch.int8))
        self._levels.write(multiples, levels, block.start)

    def add(self, packed: Tensor, out: Tensor, weight: float, draw: Draw) -> None:
        steps, levels = self._parts(packed)
        factors = steps * weight
        for block in self._pieces.blocks:
            block.of(out).add_(self._decoded(block, levels, factors))

    def unpack(self, packed: Tensor, out: Tensor, draw: Draw) -> None:
        steps, levels = self._parts(packed)
        for block in self._pieces.blocks:
            block.of(out).copy_(self._decoded(block, levels, steps))

    def _decoded(self, block: Block, levels: Tensor, factors: Tensor) -> Tensor:
        multiples = self._levels.read(levels, block.start, block.stop)
        return self._pieces.scale(block, multiples, factors, self._pieces.scratch("real", self._dtype, block.length))

    def _marking(self, draw: Draw) -> Callable[[Tensor, Tensor], None]:
        """Marks, at each call for the numbers of one more block, those below a chance of 2^16, given as 16 bits.

        On a CPU a random number shares a byte with one half a block away: each is uniform, their correlation is 1/256,
        and half as many bytes are drawn, which is what packing takes longest for.
        """
        if not bits.by_numpy(self._device):
            seed = torch_seed(draw.seed, draw.purpose, draw.agent, draw.index)
            generator = torch.Generator(self._device).manual_seed(seed)
            drawn = functools.partial(torch.randint, -(2**15), 2**15, dtype=torch.int16, device=self._device)

            def mark(chances: Tensor, out: Tensor) -> None:
                torch.lt(drawn(chances.shape, generator=generator), chances ^ -(2**15), out=out)

            return mark
        # Twice as fast as Philox, which seeds it.
        raw = np.random.PCG64DXSM(draw.stream().bit_generator.random_raw(4).tolist()).random_raw

        def mark_by_halves(chances: Tensor, out: Tensor) -> None:
            limits, above = chances.numpy().view(np.uint16), out.numpy()
            count, half = len(limits), (len(limits) + 1) // 2
            octets = raw(count // 8 + 1).view(np.uint8)
            np.less(octets[: 2 * half].view(np.uint16), limits[:half], out=above[:half])
            np.less(octets[1 : 1 + 2 * (count - half)].view(np.uint16), limits[half:], out=above[half:])

        return mark_by_halves

    def _parts(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        return packed[: self._header].view(self._dtype), packed[self._header :]

    @cached_property
    def _shrunk(self) -> Tensor:
        return torch.tensor(self._shrinks, dtype=torch.float64, device=self._device)


def _add_norms(totals: Tensor, rows: Tensor) -> None:
    totals.hypot_(torch.linalg.vector_norm(rows, dim=1))
