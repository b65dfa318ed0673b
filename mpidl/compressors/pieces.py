"""A row cut twice: into pieces, each compressed by itself, and into blocks, each worked on while it lies in a cache."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mpidl.compressors.base import Per
    from mpidl.layout import Layout

Collected = Callable[["Tensor", "Tensor"], object]

ON_CPU = 2**16
"""Numbers of a block: three float32 blocks fit into 1 MB of second-level cache, and a call costs less than its work."""
ON_GPU = 2**22
"""Enough for the cost of a kernel's launch."""


def block_length(device: torch.device) -> int:
    """Numbers worked on at a time, a multiple of 64."""
    return ON_CPU if device.type == "cpu" else ON_GPU


def piece_sizes(layout: Layout, per: Per) -> tuple[int, ...]:
    """Numbers of each piece, in the order of the row; no piece is empty."""
    if per == "tensor":
        return tuple(size for size in layout.sizes if size)
    if per == "row":
        return (layout.size,) if layout.size else ()
    whole, rest = divmod(layout.size, per)
    return (per,) * whole + (rest,) * (rest > 0)


@dataclass(frozen=True)
class Span:
    """Numbers `begin` to `end` of a block, which belong to `count` pieces from `first` on, to each equally many."""

    begin: int
    end: int
    first: int
    count: int

    def of(self, values: Tensor) -> Tensor:
        """A block's numbers as a matrix [count, ...]."""
        return values[self.begin : self.end].view(self.count, -1)


@dataclass(frozen=True)
class Block:
    """Numbers `start` to `stop` of the row; where a piece is longer than a block it has a span in several."""

    start: int
    stop: int
    spans: tuple[Span, ...]


class Pieces:
    """The pieces of a row and its blocks, which are as long as can be and begin at multiples of their length."""

    def __init__(self, layout: Layout, per: Per, block: int) -> None:
        self.sizes = piece_sizes(layout, per)
        self.length = layout.size
        self.block = block

    @property
    def count(self) -> int:
        return len(self.sizes)

    @property
    def longest(self) -> int:
        """Numbers of the longest block."""
        return min(self.block, self.length)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        starts = list(accumulate(self.sizes, initial=0))
        blocks = []
        for start in range(0, self.length, self.block):
            stop = min(start + self.block, self.length)
            blocks.append(Block(start, stop, tuple(self._spans(start, stop, starts))))
        return tuple(blocks)

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

    def scale(self, block: Block, values: Tensor, factors: Tensor) -> None:
        """Multiplies a block's numbers by the factor of their piece, of `factors` [count]."""
        for span in block.spans:
            span.of(values).mul_(factors[span.first : span.first + span.count, None])


@dataclass(frozen=True)
class Matrix:
    """A tensor by its first dimension, and how many columns its factors have."""

    rows: int
    columns: int
    rank: int

    @property
    def factors(self) -> int:
        """Numbers of both factors."""
        return self.rank * (self.rows + self.columns)


def matrix_of(shape: tuple[int, ...], rank: int) -> Matrix | None:
    """None where the tensor is no matrix, or no larger than its factors."""
    if len(shape) < 2 or not math.prod(shape):
        return None
    rows, columns = shape[0], math.prod(shape[1:])
    matrix = Matrix(rows, columns, min(rank, rows, columns))
    return matrix if matrix.factors < rows * columns else None


def rounded_share(fraction: float, size: int) -> int:
    """How many of `size` numbers a fraction is: max(1, round(f·d)), and none of none."""
    return max(1, min(size, round(fraction * size))) if size else 0


def smallest_share(fraction: float, sizes: tuple[int, ...]) -> float:
    """The least share of a piece that is kept."""
    return min((rounded_share(fraction, size) / size for size in set(sizes)), default=1.0)


def byte_count(bits: int) -> int:
    return math.ceil(bits / 8)
