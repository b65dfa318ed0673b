"""Bits in bytes, eight to a byte, the first number's lowest.

On a CPU by numpy, whose packed bits and look-ups take a fraction of what torch's operations would; elsewhere by those.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

# Gathers the lowest bits of eight bytes in the highest byte: byte i times bit 7 (8 − i) lands on bit 56 + i, and no two
# products meet.
_GATHER = 0x0102040810204080


def by_numpy(device: torch.device) -> bool:
    """Whether numpy works on what lies there."""
    return device.type == "cpu"


def pack(mask: Tensor, out: Tensor) -> None:
    """Writes a boolean mask [n] as ⌈n/8⌉ bytes."""
    if by_numpy(mask.device):
        out.numpy()[:] = np.packbits(mask.numpy(), bitorder="little")
        return
    words = torch.zeros(8 * len(out), dtype=torch.bool, device=mask.device)
    words[: len(mask)] = mask
    out.copy_((words.view(torch.int64) * _GATHER) >> 56)


def indices(packed: Tensor) -> Tensor:
    """Which bits are set, in ascending order, int64."""
    if by_numpy(packed.device):
        return torch.from_numpy(np.flatnonzero(np.unpackbits(packed.numpy(), bitorder="little").view(np.bool_)))
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return ((packed[:, None] >> places) & 1).flatten().nonzero().flatten()


def pack_negative(values: Tensor, out: Tensor) -> None:
    """Packs the mask of values < 0; torch's comparisons on a CPU take many times as long as numpy's."""
    if by_numpy(values.device):
        out.numpy()[:] = np.packbits(np.less(values.numpy(), 0), bitorder="little")
    else:
        pack(values < 0, out)


def look_up(table: Tensor, packed: Tensor, out: Tensor) -> None:
    """Writes the row of `table` [256, 8] for every byte; `out` has room for eight numbers of each."""
    if by_numpy(out.device):
        # "clip" because numpy looks up straight into `out` only where no index can be wrong; none can.
        np.take(table.numpy(), packed.numpy(), axis=0, out=out.numpy().reshape(-1, 8), mode="clip")
    else:
        torch.index_select(table, 0, packed.int(), out=out.view(-1, 8))


@cache
def signs(dtype: torch.dtype, device: torch.device) -> Tensor:
    """[256, 8]: the signs that each byte stands for, −1 where a bit is set."""
    mask = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return torch.from_numpy(1 - 2 * mask.astype(np.int8)).to(device, dtype)
