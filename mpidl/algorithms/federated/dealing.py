"""Which rank runs which of the agents that take part in a round. Plain numbers, the same on every rank."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate


def deal(work: Sequence[float], ranks: int) -> list[int]:
    """The rank of each position: contiguous runs of about equal work, so that no rank idles while another has many.

    A position goes to the rank in whose equal share of the whole its middle lies; no rank gets more than its share and
    the work of one agent. Contiguous, because a rank sums a run of neighbours by itself.
    """
    whole = sum(work)
    if not whole:
        return [position * ranks // len(work) for position in range(len(work))]
    middles = (end - cost / 2 for end, cost in zip(accumulate(work), work, strict=True))
    return [min(int(middle * ranks / whole), ranks - 1) for middle in middles]
