"""Rows in pieces that fit a processor's cache, and the weighted sum of one piece."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Row = Sequence[Tensor]
"""A row by its chunks."""


def split(row: Tensor, chunk: int) -> tuple[Tensor, ...]:
    """Views of a row's chunks."""
    return row.split(chunk) if row.numel() else ()


class Sum:
    """Z + γ(WZ − Z) for one chunk of one agent: own chunk first, then neighbours one by one, by ascending number.

    On a wire narrower than the rows: Z + γ(Wc − c), c the rounded chunks, whether a chunk came by a message (rounded
    already) or not (rounded here, each time it is read, which costs less than memory for a rounded copy).
    """

    def __init__(self, gamma: float, dtype: torch.dtype, wire: torch.dtype, chunk: int, device: torch.device) -> None:
        self._gamma = gamma
        self._wire = wire
        self._lossy = wire != dtype
        if self._lossy:
            self._rounded = torch.empty(chunk, dtype=wire, device=device)
            self._widened = torch.empty(chunk, dtype=dtype, device=device)

    @property
    def scratch(self) -> int:
        """Bytes kept for rounding."""
        return self._rounded.nbytes + self._widened.nbytes if self._lossy else 0

    def begin(self, out: Tensor, own: Tensor, self_weight: float) -> None:
        """The first term."""
        share = self._gamma * (self_weight - 1)
        if self._lossy:
            torch.add(own, self._read(own), alpha=share, out=out)
        else:
            torch.mul(own, 1 + share, out=out)

    def add(self, out: Tensor, chunk: Tensor, weight: float) -> None:
        """One more neighbour."""
        out.add_(self._read(chunk) if self._lossy else chunk, alpha=self._gamma * weight)

    def _read(self, chunk: Tensor) -> Tensor:
        """The chunk as a receiver sees it, in the rows' dtype."""
        if chunk.dtype != self._wire:
            chunk = self._rounded[: len(chunk)].copy_(chunk)
        return self._widened[: len(chunk)].copy_(chunk)
