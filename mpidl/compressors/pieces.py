"""A row cut twice: into pieces, each compressed by itself, and into blocks, each worked on while it lies in a cache."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpidl.compressors.sizes import byte_count, piece_sizes

if TYPE_CHECKING:
    from mpidl.compressors.base import Per
    from mpidl.layout import Layout

# What brings numbers, a row of a matrix for each piece, into the totals of those pieces.
Collected = Callable[[Tensor, Tensor], object]

ON_CPU = 2**17
"""Numbers of a block: three float32 blocks are 1.5 MB and fit a second-level cache; a call costs less than its work."""
ON_GPU = 2**22
"""Enough for the cost of a kernel's launch."""


def block_length(device: torch.device) -> int:
    """Numbers worked on at a time, a multiple of 64."""
    return ON_CPU if device.type == "cpu" else ON_GPU


class BlockScratch:
    """Memory for the numbers of a block, kept: to get it anew would take longer than what is done in it."""

    def __init__(self, length: int, device: torch.device) -> None:
        self._length, self._device = length, device
        self._kept: dict[str, Tensor] = {}

    def __call__(self, name: str, dtype: torch.dtype, length: int) -> Tensor:
        """What is kept under this name, cut to so many numbers, with whatever stands in it."""
        if name not in self._kept:
            self._kept[name] = torch.empty(self._length, dtype=dtype, device=self._device)
        kept = self._kept[name]
        return kept if length == self._length else kept[:length]


@dataclass(frozen=True)
class Span:
    """Numbers `begin` to `end` of a block, which belong to `count` pieces from `first` on, to each equally many."""

    begin: int
    end: int
    first: int
    count: int

    def of(self, values: Tensor) -> Tensor:
        """A block's numbers as a matrix [count, ...]."""
        part = values if len(values) == self.end - self.begin else values[self.begin : self.end]
        return part.view(self.count, -1)


@dataclass(frozen=True)
class Block:
    """Numbers `start` to `stop` of the row; where a piece is longer than a block it has a span in several."""

    start: int
    stop: int
    spans: tuple[Span, ...]

    @property
    def length(self) -> int:
        return self.stop - self.start

    def of(self, row: Tensor) -> Tensor:
        """The block's numbers."""
        return row[self.start : self.stop]

    def octets(self, bits: Tensor) -> Tensor:
        """The bytes that hold the block's bits, of one bit for every number."""
        return bits[self.start // 8 : byte_count(self.stop)]


@dataclass(frozen=True)
class BlockGroup:
    """Blocks in which all their pieces lie whole."""

    blocks: tuple[Block, ...]
    pieces: slice


class Pieces:
    """The pieces of a row and its blocks, which are as long as can be and begin at multiples of their length."""

    def __init__(self, layout: Layout, per: Per, device: torch.device) -> None:
        self.sizes = piece_sizes(layout, per)
        self.length = layout.size
        self.block = block_length(device)
        # Bits are unpacked eight at a time.
        self.scratch = BlockScratch(8 * byte_count(min(self.block, self.length)), device)

    @property
    def count(self) -> int:
        return len(self.sizes)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        starts = list(accumulate(self.sizes, initial=0))
        blocks = []
        for start in range(0, self.length, self.block):
            stop = min(start + self.block, self.length)
            blocks.append(Block(start, stop, tuple(self._spans(start, stop, starts))))
        return tuple(blocks)

    @cached_property
    def groups(self) -> tuple[BlockGroup, ...]:
        """The blocks, in as many groups as can be."""
        ends = set(accumulate(self.sizes))
        groups: list[BlockGroup] = []
        blocks: list[Block] = []
        for block in self.blocks:
            blocks.append(block)
            if block.stop in ends:
                last = block.spans[-1]
                groups.append(BlockGroup(tuple(blocks), slice(blocks[0].spans[0].first, last.first + last.count)))
                blocks = []
        return tuple(groups)

    def _spans(self, start: int, stop: int, starts: list[int]) -> Iterator[Span]:
        piece = bisect_right(starts, start) - 1
        while start < stop:
            begin, count = start, 1
            start = min(starts[piece + 1], stop)
            length = start - begin
            while begin == starts[piece] and start + length <= stop and self._long(piece + count) == length:
                start, count = start + length, count + 1
            offset = begin - begin // self.block * self.block
            yield Span(offset, offset + start - begin, piece, count)
            piece += count

    def _long(self, piece: int) -> int:
        return self.sizes[piece] if piece < len(self.sizes) else 0

    def collect(self, totals: Tensor, block: Block, values: Tensor, of: Collected) -> None:
        """Brings what `of` makes of each row of a matrix into the totals [count] of the pieces in this block."""
        for span in block.spans:
            total = totals[span.first : span.first + span.count]
            of(total, span.of(values))

    def scale(self, block: Block, values: Tensor, factors: Tensor, out: Tensor) -> Tensor:
        """Writes a block's numbers, each times the factor of its piece, of `factors` [count]."""
        if values.dtype != out.dtype:
            values = out.copy_(values)
        for span in block.spans:
            torch.mul(span.of(values), factors[span.first : span.first + span.count, None], out=span.of(out))
        return out
