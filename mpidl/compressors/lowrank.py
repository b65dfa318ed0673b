"""Matrices as two factors and vectors whole, packed tensor by tensor as [P̂, m × r][Q, n × r] or [its numbers]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch

from mpidl.compressors.base import NOTHING, Codec, Draw, beyond_range
from mpidl.compressors.pieces import block_length
from mpidl.compressors.sizes import Matrix, matrix_of
from mpidl.rows import on_boundary

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.layout import Layout


class _Place(NamedTuple):
    """A tensor's numbers in the row, in the packed row, and its factor's in the memory."""

    matrix: Matrix | None
    row: slice
    packed: slice
    memory: slice


class LowRankCodec(Codec):
    """One step of power iteration for each matrix; Q is kept for the next, its largest number scaled to 1.

    Products are made of operands that begin on a boundary, some of a matrix's rows at a time, always the same.
    """

    def __init__(self, layout: Layout, dtype: torch.dtype, device: torch.device, rank: int) -> None:
        self._dtype, self._device, self._block = dtype, device, block_length(device)
        self._places: list[_Place] = []
        row = packed = memory = 0
        for shape, size in zip(layout.shapes, layout.sizes, strict=True):
            matrix = matrix_of(shape, rank)
            sent, kept = (matrix.factors, matrix.columns * matrix.rank) if matrix else (size, 0)
            place = slice(row, row + size), slice(packed, packed + sent), slice(memory, memory + kept)
            self._places.append(_Place(matrix, *place))
            row, packed, memory = row + size, packed + sent, memory + kept
        self.nbytes = packed * dtype.itemsize
        if memory:
            self.memory = {"factors": (memory,)}

    def pack(self, row: Tensor, out: Tensor, draw: Draw, memory: Mapping[str, Tensor] = NOTHING) -> None:
        numbers = out.view(self._dtype)
        generator = draw.stream()
        for matrix, here, there, kept in self._places:
            if matrix is None:
                numbers[there] = row[here]
                continue
            values = on_boundary(row[here]).view(matrix.rows, matrix.columns)
            warm = memory["factors"][kept].view(matrix.columns, matrix.rank)
            if not warm.any():
                warm.copy_(torch.from_numpy(generator.standard_normal(warm.shape)))
            left = torch.linalg.qr(values @ on_boundary(warm)).Q.contiguous()
            right = values.T @ left
            numbers[there] = torch.cat([left.flatten(), right.flatten()])
            largest = right.abs().amax()
            warm.copy_(right / largest if largest > 0 else right)
        if not all(part.isfinite().all() for part in numbers.split(self._block)):
            raise beyond_range()

    def add(self, packed: Tensor, out: Tensor, weight: float, draw: Draw) -> None:
        for place, values in self._products(packed):
            out[place].add_(values * weight)

    def unpack(self, packed: Tensor, out: Tensor, draw: Draw) -> None:
        for place, values in self._products(packed):
            out[place] = values

    def _products(self, packed: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Some of the numbers of C(row) at a time: which places in the row, and the numbers."""
        numbers = packed.view(self._dtype)
        for matrix, here, there, _ in self._places:
            if matrix is None:
                yield here, numbers[there]
                continue
            left, right = numbers[there].clone().split([matrix.rows * matrix.rank, matrix.columns * matrix.rank])
            left, right = left.view(matrix.rows, matrix.rank), on_boundary(right).view(matrix.columns, matrix.rank)
            several = max(1, self._block // matrix.columns)
            for first in range(0, matrix.rows, several):
                begin = here.start + first * matrix.columns
                product = on_boundary(left[first : first + several]) @ right.T
                yield slice(begin, begin + product.numel()), product.flatten()
