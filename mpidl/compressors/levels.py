"""Whole numbers of few bits, one behind the other.

Eight numbers of b < 8 bits make a word of 8 b bits, which is sent in parts of 4, 2 and 1 bytes, as b is a sum of them:
first the 4-byte parts of all words, then the 2-byte parts, then the bytes. A number of 8 < b < 16 bits is sent as its
highest b − 8 bits like that and its lowest byte; one of 8 or 16 bits as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mpidl.compressors.sizes import byte_count

if TYPE_CHECKING:
    from torch import Tensor

_PARTS = {4: torch.int32, 2: torch.int16, 1: torch.uint8}


def _mask(bits: int, lane: int) -> int:
    """The lowest bits of each lane of a 64-bit word, as a signed number."""
    pattern = sum((2**bits - 1) << place for place in range(0, 64, lane))
    return pattern - 2**64 if pattern >= 2**63 else pattern


def _joined(words: Tensor, bits: int) -> Tensor:
    """Words of eight bytes, of which the lowest bits count, with those side by side; in place."""
    for lane in (8, 16, 32):
        low = bits * lane // 8
        upper = (words >> (lane - low)) & (_mask(low, 2 * lane) << low)
        words.bitwise_and_(_mask(low, 2 * lane)).bitwise_or_(upper)
    return words


def _parted(words: Tensor, bits: int) -> Tensor:
    """The bytes again, by the same steps backwards; in place."""
    for lane in (32, 16, 8):
        low = bits * lane // 8
        upper = (words << (lane - low)) & (_mask(low, 2 * lane) << lane)
        words.bitwise_and_(_mask(low, 2 * lane)).bitwise_or_(upper)
    return words


class Levels:
    """`length` signed numbers of `bits` bits; written and read from any multiple of eight on."""

    def __init__(self, bits: int, length: int) -> None:
        self._bits, self._length = bits, length
        self.dtype = torch.int8 if bits <= 8 else torch.int16
        self._few = bits % 8
        words = byte_count(length) if self._few else 0
        self._planes: list[tuple[int, int]] = []
        offset = 0
        for width in (4, 2, 1):
            if self._few & width:
                self._planes.append((width, offset))
                offset += width * words
        self._whole = offset
        self.nbytes = offset + length * (bits // 8)

    def sent_as_they_are(self, packed: Tensor, start: int, stop: int) -> Tensor | None:
        """Where the numbers from `start` to `stop` may be written at once; None where they must be packed."""
        return None if self._few else packed.view(self.dtype)[start:stop]

    def write(self, levels: Tensor, packed: Tensor, start: int) -> None:
        """The numbers from `start` on, of `dtype`; nothing to do where they are sent as they are."""
        if not self._few:
            return
        stop = start + len(levels)
        if self._bits > 8:
            packed[self._whole + start : self._whole + stop] = levels & 0xFF
            levels = levels >> 8
        words = torch.zeros(byte_count(len(levels)), dtype=torch.int64, device=levels.device)
        words.view(torch.uint8)[: len(levels)] = levels & (2**self._few - 1)
        _joined(words, self._few)
        shift = 0
        for width, offset in self._planes:
            self._plane(packed, width, offset, start, len(words)).copy_(words >> shift)
            shift += 8 * width

    def read(self, packed: Tensor, start: int, stop: int) -> Tensor:
        """The numbers from `start` to `stop`."""
        if not self._few:
            return packed.view(self.dtype)[start:stop]
        words = torch.zeros(byte_count(stop - start), dtype=torch.int64, device=packed.device)
        shift = 0
        for width, offset in self._planes:
            part = self._plane(packed, width, offset, start, len(words)).long()
            words |= (part & (2 ** (8 * width) - 1)) << shift
            shift += 8 * width
        sign = 2 ** (self._few - 1)
        levels = ((_parted(words, self._few).view(torch.int8) ^ sign) - sign)[: stop - start]
        if self._bits > 8:
            low = packed[self._whole + start : self._whole + stop]
            return (levels.short() << 8) | low
        return levels

    def _plane(self, packed: Tensor, width: int, offset: int, start: int, words: int) -> Tensor:
        """The parts of this width of so many words, from that of number `start` on."""
        begin = offset + width * (start // 8)
        return packed[begin : begin + width * words].view(_PARTS[width])
