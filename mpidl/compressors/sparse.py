"""A few numbers of a row: which ones, as indices of 32 bits or as a bitmap, and where they go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from mpidl.compressors import bits
from mpidl.compressors.pieces import byte_count
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


def add_at(out: Tensor, indices: Tensor, values: Tensor) -> None:
    """Adds to the numbers at the indices, of which each stands there once."""
    if out.device.type == "cpu":
        out.numpy()[indices.numpy()] += values.numpy()
    else:
        out[indices] = out[indices] + values


def put_at(out: Tensor, indices: Tensor, values: Tensor) -> None:
    """Writes the numbers at the indices."""
    if out.device.type == "cpu":
        out.numpy()[indices.numpy()] = values.numpy()
    else:
        out[indices] = values


def taken(row: Tensor, indices: Tensor, out: Tensor) -> None:
    """Writes the row's numbers at the indices to `out`."""
    if row.device.type == "cpu":
        row.numpy().take(indices.numpy(), out=out.numpy(), mode="clip")
    else:
        torch.index_select(row, 0, indices, out=out)


class IndexSet:
    """Which `count` of `length` numbers: ascending, 4 bytes each, or a bit for every number where that is less."""

    def __init__(self, count: int, length: int, block: int) -> None:
        if length > 2**32:
            raise ConfigError(f"a row of {length} numbers is too long for indices of 32 bits")
        self._count, self._length, self._block = count, length, block
        self._bitmap = byte_count(length) < 4 * count
        self.nbytes = byte_count(length) if self._bitmap else 4 * count

    def write(self, indices: Tensor, out: Tensor) -> None:
        """From indices in ascending order."""
        if not self._bitmap:
            out.view(torch.uint32).copy_(indices)
            return
        mask = torch.zeros(self._length, dtype=torch.bool, device=out.device)
        put_at(mask, indices, torch.ones((), dtype=torch.bool))
        bits.packed(mask, out)

    def parts(self, packed: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Some of the numbers at a time: which places in the list of values, and the indices in the row."""
        if not self._bitmap:
            indices = packed.view(torch.uint32)
            for start in range(0, self._count, self._block):
                part = slice(start, min(start + self._block, self._count))
                yield part, indices[part] if packed.device.type == "cpu" else indices[part].long()
            return
        count = 0
        for start in range(0, self._length, self._block):
            mask = bits.unpacked(packed[start // 8 : (start + self._block) // 8])
            indices = mask.nonzero().flatten()
            yield slice(count, count + len(indices)), indices.add_(start)
            count += len(indices)
