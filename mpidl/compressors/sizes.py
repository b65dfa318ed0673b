"""Plain numbers of what is compressed: pieces, shares, matrices, bytes. No torch, so that settings can tell them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpidl.compressors.base import Per
    from mpidl.layout import Layout


def piece_sizes(layout: Layout, per: Per) -> tuple[int, ...]:
    """Numbers of each piece, in the order of the row; no piece is empty."""
    if per == "tensor":
        return tuple(size for size in layout.sizes if size)
    if per == "row":
        return (layout.size,) if layout.size else ()
    whole, rest = divmod(layout.size, per)
    return (per,) * whole + (rest,) * (rest > 0)


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
