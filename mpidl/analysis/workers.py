"""Who computes the terms of a sum: one process alone, or ranks that share them (`ranks.py`), with the same bits.

A sum has numbered terms, each of which one worker computes; they are added in the fixed tree of `mpidl.comm.tree`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


class Workers(Protocol):
    """One process of several that go through the same program; its methods are collective calls."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Σ over workers of float64 numbers, each of which is zero with all workers but one."""

    def sum_rows(self, terms: Iterable[tuple[int, Tensor]], owners: list[int], size: int) -> Tensor:
        """Σ of one float64 row [size] for each number below `len(owners)`; `terms` are this worker's, ascending.

        A row may be overwritten once the next is asked for.
        """


class Alone:
    """The only worker."""

    rank, size = 0, 1

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values

    def sum_rows(self, terms: Iterable[tuple[int, Tensor]], owners: list[int], size: int) -> Tensor:
        # Partial sums of 2^level terms, each level at most once, the largest first.
        waiting: list[tuple[int, Tensor]] = []
        for _, term in terms:
            level, row = 0, term.clone()
            while waiting and waiting[-1][0] == level:
                level, row = level + 1, waiting.pop()[1].add_(row)
            waiting.append((level, row))
        total = waiting.pop()[1]
        while waiting:
            total = waiting.pop()[1].add_(total)
        return total


ALONE = Alone()


def dealt(terms: int, workers: Workers) -> list[int]:
    """The worker that computes each of so many terms: neighbours stay together, shares differ by at most one."""
    return [term * workers.size // terms for term in range(terms)]
