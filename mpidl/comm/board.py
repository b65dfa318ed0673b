"""Memory in which the ranks of one node show each other numbers, so that sums over them need no messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mpidl.comm.sharing import SharedBlocks

if TYPE_CHECKING:
    from mpi4py import MPI
    from torch import Tensor

PLACE = 4 * 2**20
"""Bytes of a place: what ranks show each other at a time stays in their caches."""
PLACES = 2
LINE = 64
"""Bytes of a line of the cache."""


class Board:
    """Two places of every rank, in which it writes for all to read; used in turn, however long the rows are.

    After a rank has written, all pass a barrier, and from then on may read. Who writes to a place again has passed the
    barrier of the turn between, at which all arrived when they had read what was there before. `failure` says why
    there is no such memory, in the same words on all ranks. `turn` counts turns.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        """A collective call of ranks that are on one node."""
        self._ranks = range(comm.size)
        self._memory = SharedBlocks(comm, tuple(self._ranks), 1, PLACE, torch.uint8, PLACES)
        self._views: dict[tuple[int, torch.dtype], list[list[Tensor]]] = {}
        self.failure = self._memory.failure
        self.turn = 0

    def places(self, rows: int, dtype: torch.dtype) -> list[list[Tensor]]:
        """By turn and rank, its place as so many rows that fill it: [turn % PLACES][rank]."""
        if (rows, dtype) not in self._views:
            length = length_of(rows, dtype)
            self._views[rows, dtype] = [
                [
                    self._memory.of(rank)[place][0].view(dtype)[: rows * length].view(rows, length)
                    for rank in self._ranks
                ]
                for place in range(PLACES)
            ]
        return self._views[rows, dtype]

    def close(self) -> None:
        """Lets go of the memory."""
        self._views.clear()
        self._memory.close()


def length_of(rows: int, dtype: torch.dtype) -> int:
    """Elements of a row of which a place holds so many: whole lines of the cache, or none."""
    return PLACE // rows // LINE * LINE // dtype.itemsize
