"""Numbers drawn at random, packed as they were drawn; which they are follows from the sender's draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch

from mpidl.compressors.base import NOTHING, Codec, Draw, Per, beyond_range
from mpidl.compressors.pieces import ON_CPU
from mpidl.compressors.sizes import piece_sizes, rounded_share

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.layout import Layout


class RandomKCodec(Codec):
    """k = max(1, round(f·d)) numbers of each piece.

    In a piece cut at `cut` into k arcs, arc j begins at cut + j·⌊d/k⌋ + min(j, d mod k). As the cut is uniform, each
    index is drawn with probability k/d, and no index twice.
    """

    def __init__(
        self, layout: Layout, dtype: torch.dtype, device: torch.device, fraction: float, common: bool, per: Per
    ) -> None:
        self._common, self._dtype, self._device = common, dtype, device
        sizes = piece_sizes(layout, per)
        self._runs = [(size, rounded_share(fraction, size), len(list(run))) for size, run in groupby(sizes)]
        self.nbytes = sum(k * count for _, k, count in self._runs) * dtype.itemsize

    def pack(self, row: Tensor, out: Tensor, draw: Draw, memory: Mapping[str, Tensor] = NOTHING) -> None:
        values = out.view(self._dtype)
        for part, indices in self._indices(draw):
            torch.index_select(row, 0, indices, out=values[part])
        if not values.isfinite().all():
            raise beyond_range()

    def add(self, packed: Tensor, out: Tensor, weight: float, draw: Draw) -> None:
        values = packed.view(self._dtype)
        for part, indices in self._indices(draw):
            out.index_add_(0, indices, values[part] * weight)

    def unpack(self, packed: Tensor, out: Tensor, draw: Draw) -> None:
        self.add(packed, out.zero_(), 1.0, draw)

    def _indices(self, draw: Draw) -> Iterator[tuple[slice, Tensor]]:
        """Some of the numbers at a time: which places in the packed row, and the indices in the row."""
        generator = (replace(draw, agent=0) if self._common else draw).stream()
        start = place = 0
        for size, k, count in self._runs:
            together = max(1, ON_CPU // k)
            for first in range(0, count, together):
                pieces = np.arange(first, min(first + together, count))[:, None]
                cuts = generator.integers(size, size=pieces.shape)
                for arc in range(0, k, ON_CPU):
                    arcs = np.arange(arc, min(arc + ON_CPU, k))
                    indices = _drawn(generator, cuts, arcs, size, k) + (start + size * pieces)
                    yield slice(place, place + indices.size), torch.from_numpy(indices.ravel()).to(self._device)
                    place += indices.size
            start += size * count


def _drawn(generator: np.random.Generator, cuts: np.ndarray, arcs: np.ndarray, size: int, k: int) -> np.ndarray:
    """An index from each of these arcs of each piece, [pieces, arcs], within the piece."""
    length, longer = divmod(size, k)
    within = generator.random((len(cuts), len(arcs))) * (length + (arcs < longer))
    indices: np.ndarray = cuts + (arcs * length + np.minimum(arcs, longer)) + within.astype(np.int64)
    return np.subtract(indices, size, out=indices, where=indices >= size)
