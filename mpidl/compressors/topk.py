"""The numbers of largest magnitude, packed as [the numbers, by ascending index][their indices or a bitmap]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from mpidl.compressors.base import NOTHING, Codec, Draw, Per, beyond_range
from mpidl.compressors.pieces import block_length
from mpidl.compressors.selection import largest, largest_of_each
from mpidl.compressors.sizes import piece_sizes, rounded_share
from mpidl.compressors.sparse import IndexSet

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.layout import Layout


class TopKCodec(Codec):
    """k = max(1, round(f·d)) numbers of each piece."""

    def __init__(self, layout: Layout, dtype: torch.dtype, device: torch.device, fraction: float, per: Per) -> None:
        self._fraction, self._dtype, self._block = fraction, dtype, block_length(device)
        self._sizes = piece_sizes(layout, per)
        count = sum(rounded_share(fraction, size) for size in self._sizes)
        self._set = IndexSet(count, layout.size, self._block)
        self._values = count * dtype.itemsize
        self.nbytes = self._values + self._set.nbytes

    def pack(self, row: Tensor, out: Tensor, draw: Draw, memory: Mapping[str, Tensor] = NOTHING) -> None:
        if not self.nbytes:
            return
        values, indices = self._parts(out)
        selected = torch.cat(list(self._selected(row)))
        torch.index_select(row, 0, selected, out=values)
        if not values.isfinite().all():
            raise beyond_range()
        self._set.write(selected, indices)

    def _selected(self, row: Tensor) -> Iterator[Tensor]:
        """Indices of what is sent, in ascending order, of some pieces at a time."""
        start = 0
        for size, pieces in groupby(self._sizes):
            k, count = rounded_share(self._fraction, size), len(list(pieces))
            together = max(1, self._block // size) if count > 1 else 1
            for first in range(0, count, together):
                several = min(together, count - first)
                values = row[start : start + several * size]
                chosen = largest(values, k) if several == 1 else largest_of_each(values.view(several, size), k)
                yield chosen.int().add_(start)
                start += several * size

    def add(self, packed: Tensor, out: Tensor, weight: float, draw: Draw) -> None:
        values, indices = self._parts(packed)
        for part, places in self._set.parts(indices):
            out.index_add_(0, places, values[part] * weight)

    def unpack(self, packed: Tensor, out: Tensor, draw: Draw) -> None:
        self.add(packed, out.zero_(), 1.0, draw)

    def _parts(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        return packed[: self._values].view(self._dtype), packed[self._values :]
