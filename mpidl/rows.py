"""Memory for rows: each begins on a boundary, wherever it stands in its block.

A matrix product rounds otherwise when its operands begin elsewhere in a vector register, and so an agent's numbers
would depend on its place among the agents of its rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

BOUNDARY = 64
"""Bytes: a line of a cache, and the widest vector register; what torch gives to tensors of their own."""


def stride(length: int, dtype: torch.dtype) -> int:
    """Elements from the beginning of one row to that of the next."""
    each = BOUNDARY // dtype.itemsize
    return -(-length // each) * each


def room(rows: int, length: int, dtype: torch.dtype) -> int:
    """Bytes of so many rows."""
    return rows * stride(length, dtype) * dtype.itemsize


def new_rows(shape: Sequence[int], dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """Zeros [..., length], of which the last dimension is a row."""
    *leading, length = shape
    memory = torch.zeros((*leading, stride(length, dtype)), dtype=dtype, device=device)
    return memory[..., :length]


def copied(block: Tensor) -> Tensor:
    """The same rows in memory of their own."""
    return new_rows(block.shape, block.dtype, block.device).copy_(block)


def on_boundary(row: Tensor) -> Tensor:
    """The row itself where it begins on a boundary, else a copy that does."""
    return row.clone() if row.data_ptr() % BOUNDARY else row


def items(count: int, shape: Sequence[int], dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """Zeros [count, *shape], each item a row of its numbers."""
    if not shape:
        return torch.zeros(count, dtype=dtype, device=device)
    return new_rows((count, math.prod(shape)), dtype, device).unflatten(1, tuple(shape))
