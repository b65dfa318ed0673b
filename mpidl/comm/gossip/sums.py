"""Rows in pieces that fit a processor's cache, and the weighted sums of one piece."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

Chunks = Sequence[Tensor]
"""A row, or several beneath each other, by its chunks."""


def split(rows: Tensor, chunk: int) -> tuple[Tensor, ...]:
    """Views of the chunks of a row, or of several."""
    return rows.split(chunk, dim=-1) if rows.numel() else ()


class Scratch:
    """Memory for rows while they are summed."""

    def __init__(self, elements: int, dtype: torch.dtype, device: torch.device) -> None:
        self._memory = torch.empty(elements, dtype=dtype, device=device)
        self._views: dict[Sequence[int], Tensor] = {}

    @property
    def nbytes(self) -> int:
        return self._memory.nbytes

    def shaped(self, shape: Sequence[int]) -> Tensor:
        """Its beginning, in this shape; the views are kept, since making one takes as long as adding a small row."""
        if shape not in self._views:
            self._views[shape] = self._memory[: math.prod(shape)].view(shape)
        return self._views[shape]


class Sum:
    """Z + γ(WZ − Z) for one chunk of some agents: own chunk first, then neighbours one by one, by ascending number.

    On a wire narrower than the rows: Z + γ(Wc − c), c the rounded chunks, whether a chunk came by a message (rounded
    already) or not (rounded here, each time it is read, which costs less than memory for a rounded copy).

    Every row has a weight of its own, a row of the tensor `[n, 1]` that goes with n of them, also where they are the
    same: so torch goes through one row after another, each from its own first element, and a number is rounded as it
    would be if its agent were alone.
    """

    def __init__(self, gamma: float, dtype: torch.dtype, wire: torch.dtype, scratch: int, device: torch.device) -> None:
        """`scratch`: elements to be rounded or gathered at a time."""
        self._gamma, self._dtype, self._device = gamma, dtype, device
        self._lossy = wire != dtype
        self._gathered = Scratch(scratch, dtype, device)
        self._rounded = Scratch(scratch if self._lossy else 0, wire, device)

    @property
    def scratch(self) -> int:
        """Bytes kept for rounding and gathering."""
        return self._rounded.nbytes + self._gathered.nbytes

    def own_weights(self, self_weights: Iterable[float]) -> Tensor:
        """For `begin`, from the diagonal of W."""
        shares = [self._gamma * (weight - 1) for weight in self_weights]
        return self._tensor(shares if self._lossy else [1 + share for share in shares])

    def weights(self, weights: Iterable[float]) -> Tensor:
        """For `add`, from other elements of W."""
        return self._tensor([self._gamma * weight for weight in weights])

    def begin(self, out: Tensor, own: Tensor, weight: Tensor) -> None:
        """The first term."""
        if self._lossy:
            torch.addcmul(own, self._read(own), weight, out=out)
        else:
            torch.mul(own, weight, out=out)

    def add(self, out: Tensor, rows: Tensor, weight: Tensor, places: Tensor | None = None) -> None:
        """One more neighbour of each: these rows, or those at some places among them."""
        if places is not None:
            rows = self._gather(rows, places)
        out.addcmul_(self._read(rows) if self._lossy else rows, weight)

    def _gather(self, rows: Tensor, places: Tensor) -> Tensor:
        scratch = self._gathered if rows.dtype == self._dtype else self._rounded
        return torch.index_select(rows, 0, places, out=scratch.shaped((len(places), rows.shape[-1])))

    def _read(self, rows: Tensor) -> Tensor:
        """The rows as a receiver sees them, in their own dtype."""
        if rows.dtype == self._dtype:
            rows = self._rounded.shaped(rows.shape).copy_(rows)
        return self._gathered.shaped(rows.shape).copy_(rows)

    def _tensor(self, weights: list[float]) -> Tensor:
        return torch.tensor(weights, dtype=self._dtype, device=self._device).unsqueeze(-1)
