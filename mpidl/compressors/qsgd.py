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

# The least step: the squares of numbers below are not normal numbers, so that no norm can be told from them.
_LEAST = {torch.float32: 2.0**-63, torch.float64: 2.0**-511}


class QSGDCodec(Codec):
    """Multiples of norm/s; `shrinks` are what the pieces are scaled by, empty for nothing.

    A number is taken as a whole number of 2^−16 steps (2^−15, where a multiple has 16 bits): the upper bits are the
    multiple below it, the lower ones the chance of the one above. Steps are a little larger than norm/s, so that
    rounding leads no multiple beyond s, and at least 2^−63 (2^−511 in float64), so that none is zero; since sender and
    receiver use the same step, no mean is moved by that.
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
        norms = self._norms(row)
        if not norms.isfinite().all():
            raise beyond_range()
        steps = (norms / self._highest).clamp_(min=_LEAST[self._dtype]) * (1 + 8 * torch.finfo(self._dtype).eps)
        factors = (2**self._fraction / steps).to(self._dtype)
        random, scratch = self._random(draw), self._pieces.scratch
        for block in self._pieces.blocks:
            real = scratch("real", self._dtype, block.length)
            fine = scratch("fine", torch.int32, block.length).copy_(
                self._pieces.scale(block, block.of(row), factors, real)
            )
            chances = scratch("chances", torch.int16, block.length).copy_(fine)
            # The lower bits as a number from −2^15 on, as the random ones are.
            chances.bitwise_left_shift_(16 - self._fraction).bitwise_xor_(-(2**15))
            above = bits.below(random(block.length), chances, scratch("above", torch.bool, block.length))
            multiples = scratch("multiples", self._levels.dtype, block.length)
            multiples.copy_(fine.bitwise_right_shift_(self._fraction)).add_(above.view(torch.int8))
            self._levels.write(multiples, levels, block.start)
        header.copy_(steps * self._shrunk if self._shrinks else steps)

    def add(self, packed: Tensor, out: Tensor, weight: float, draw: Draw) -> None:
        steps, levels = self._parts(packed)
        factors = steps * weight
        for block in self._pieces.blocks:
            block.of(out).add_(self._decoded(block, levels, factors))

    def unpack(self, packed: Tensor, out: Tensor, draw: Draw) -> None:
        steps, levels = self._parts(packed)
        for block in self._pieces.blocks:
            block.of(out).copy_(self._decoded(block, levels, steps))

    def _norms(self, row: Tensor) -> Tensor:
        squares = torch.zeros(self._pieces.count, dtype=torch.float64, device=self._device)
        for block in self._pieces.blocks:
            self._pieces.collect(squares, block, block.of(row), _add_squares)
        return squares.sqrt_()

    def _decoded(self, block: Block, levels: Tensor, factors: Tensor) -> Tensor:
        multiples = self._levels.read(levels, block.start, block.stop)
        return self._pieces.scale(block, multiples, factors, self._pieces.scratch("real", self._dtype, block.length))

    def _random(self, draw: Draw) -> Callable[[int], Tensor]:
        """Gives so many random numbers of 16 bits at each call, for a block.

        On a CPU a number shares a byte with one half a block away: either is uniform, their correlation is 1/256, and
        half as many bytes are drawn, which is what packing takes longest for.
        """
        if self._device.type != "cpu":
            seed = torch_seed(draw.seed, draw.purpose, draw.agent, draw.index)
            generator = torch.Generator(self._device).manual_seed(seed)
            drawn = functools.partial(torch.randint, -(2**15), 2**15, dtype=torch.int16, device=self._device)
            return lambda count: drawn((count,), generator=generator)
        raw = draw.stream().bit_generator.random_raw

        def numbers(count: int) -> Tensor:
            octets = raw(count // 8 + 1).view(np.uint8)
            halves = octets[: count + count % 2], octets[1 : 1 + count - count % 2]
            out = self._pieces.scratch("random", torch.int16, count)
            np.concatenate([half.view(np.int16) for half in halves], out=out.numpy())
            return out

        return numbers

    def _parts(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        return packed[: self._header].view(self._dtype), packed[self._header :]

    @cached_property
    def _shrunk(self) -> Tensor:
        return torch.tensor(self._shrinks, dtype=torch.float64, device=self._device)


def _add_squares(totals: Tensor, rows: Tensor) -> None:
    totals.add_(torch.linalg.vector_norm(rows, dim=1).double().square_())
