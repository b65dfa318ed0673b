"""A few numbers of a row: which ones, as indices of 32 bits or as a bitmap, and where they go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from mpidl.compressors import bits
from mpidl.compressors.sizes import byte_count
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


class IndexSet:
    """Which `count` of `length` numbers: ascending, 4 bytes each, or a bit for every number where that is less."""

    def __init__(self, count: int, length: int, block: int) -> None:
        if length > 2**31:
            raise ConfigError(f"a row of {length} numbers is too long for indices of 32 bits", "compressor")
        self._count, self._length, self._block = count, length, block
        self._bitmap = byte_count(length) < 4 * count
        self.nbytes = byte_count(length) if self._bitmap else 4 * count

    def write(self, indices: Tensor, out: Tensor) -> None:
        """From indices in ascending order."""
        if not self._bitmap:
            out.view(torch.int32).copy_(indices)
            return
        mask = torch.zeros(self._length, dtype=torch.bool, device=out.device)
        bits.pack(mask.index_fill_(0, indices.long(), True), out)

    def parts(self, packed: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Some of the numbers at a time: which places in the list of values, and the indices in the row."""
        if not self._bitmap:
            for start in range(0, self._count, self._block):
                part = slice(start, min(start + self._block, self._count))
                yield part, packed.view(torch.int32)[part]
            return
        count = 0
        for start in range(0, self._length, self._block):
            indices = bits.indices(packed[start // 8 : (start + self._block) // 8])
            yield slice(count, count + len(indices)), indices.add_(start)
            count += len(indices)
