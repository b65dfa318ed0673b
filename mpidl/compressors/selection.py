"""The k numbers of largest magnitude, exactly, ties to the lowest index, without sorting.

Bits of a number without its sign, read as an integer, are ordered as magnitudes are, infinities and NaN above all: what
is not finite is always selected, and denormals cost nothing.

On a CPU, by numpy, a sample of the row says what to leave alone. What is above passes through a list that is cut back
to its k largest whenever it is full, which raises the threshold for all that follows; so the result is exact whatever
the sample said, and the list short. Where too few were above, a second pass takes everything for a candidate.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from mpidl.compressors import bits
from mpidl.compressors.pieces import ON_CPU

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

# A number's bits as an integer; without its sign, its bits are at most the largest integer.
_INTEGER: dict[int, type[np.integer]] = {4: np.int32, 8: np.int64}
# Numbers that are looked at for one in the sample, and the least and the most in it.
_STRIDE, _SMALLEST_SAMPLE, _LARGEST_SAMPLE = 64, 1024, 2**17
# Standard deviations by which the sample may be wrong before a second pass is needed.
_DEVIATIONS = 4


def largest(values: Tensor, k: int) -> Tensor:
    """Indices of the k largest of [d] in ascending order."""
    if not bits.by_numpy(values.device):
        magnitudes = _magnitudes(values)
        least = magnitudes.topk(k, sorted=False).values.amin()
        above, equal = (mask.nonzero().flatten() for mask in (magnitudes > least, magnitudes == least))
        return torch.cat([above, equal[: k - len(above)]]).sort().values.int()
    words = values.numpy().view(_INTEGER[values.element_size()])
    indices = _above(words, k, _likely_threshold(words, k))
    if indices is None:
        indices = _above(words, k, -1)
    return torch.from_numpy(indices)


def _magnitudes(values: Tensor) -> Tensor:
    integer = torch.int32 if values.element_size() == 4 else torch.int64
    return values.view(integer) & torch.iinfo(integer).max


def _likely_threshold(words: NDArray[np.integer], k: int) -> int:
    """A magnitude that somewhat more than k numbers are above; −1 where all may be looked at."""
    size = min(max(len(words) // _STRIDE, _SMALLEST_SAMPLE), _LARGEST_SAMPLE)
    if len(words) < 4 * size:
        return -1
    # An odd stride, since networks have much that returns after powers of two.
    sample = words[:: len(words) // size | 1] & np.iinfo(words.dtype).max
    expected = k * len(sample) / len(words)
    rank = math.ceil(expected + _DEVIATIONS * (math.sqrt(expected) + 1))
    if rank >= len(sample):
        return -1
    return int(np.partition(sample, len(sample) - rank)[len(sample) - rank]) - 1


def _above(words: NDArray[np.integer], k: int, threshold: int) -> NDArray[np.int32] | None:
    """The k largest of those above the threshold; None if there are fewer."""
    full = k + max(k // 4, ON_CPU)
    room = min(full + ON_CPU, len(words))
    magnitudes, indices = np.empty(room, words.dtype), np.empty(room, np.int32)
    scratch = np.empty(min(ON_CPU, len(words)), words.dtype)
    mask = np.empty(len(scratch), np.bool_)
    count = 0
    for start in range(0, len(words), ON_CPU):
        part = words[start : start + ON_CPU]
        block = np.bitwise_and(part, np.iinfo(words.dtype).max, out=scratch[: len(part)])
        places = np.flatnonzero(np.greater(block, threshold, out=mask[: len(part)]))
        end = count + len(places)
        np.take(block, places, out=magnitudes[count:end], mode="clip")
        np.add(places, start, out=indices[count:end], casting="unsafe")
        count = end
        if count > full:
            threshold = _keep_largest(magnitudes[:count], indices[:count], k)
            count = k
    if count < k:
        return None
    if count > k:
        _keep_largest(magnitudes[:count], indices[:count], k)
    return indices[:k]


def _keep_largest(magnitudes: NDArray[np.integer], indices: NDArray[np.int32], k: int) -> int:
    """Moves the k largest to the front, in their order, and returns the least of them: what follows must be above."""
    least = np.partition(magnitudes, len(magnitudes) - k)[len(magnitudes) - k]
    kept = magnitudes > least
    kept[np.flatnonzero(magnitudes == least)[: k - np.count_nonzero(kept)]] = True
    magnitudes[:k], indices[:k] = magnitudes[kept], indices[kept]
    return int(least)


def largest_of_each(rows: Tensor, k: int) -> Tensor:
    """Indices into the flattened [n, d] of the k largest of each row, in ascending order."""
    if bits.by_numpy(rows.device):
        words = rows.numpy().view(_INTEGER[rows.element_size()])
        words = words & np.iinfo(words.dtype).max
        place = words.shape[1] - k
        least = torch.from_numpy(np.partition(words, place, axis=1)[:, place, None])
        magnitudes = torch.from_numpy(words)
    else:
        magnitudes = _magnitudes(rows)
        least = magnitudes.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)
    above, equal = magnitudes > least, magnitudes == least
    missing = k - above.sum(1, keepdim=True)
    return (above | (equal & (equal.cumsum(1) <= missing))).flatten().nonzero().flatten()
