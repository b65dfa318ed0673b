"""Rows in memory that all ranks of a node see, so that sums over them need no messages."""

from __future__ import annotations

from collections.abc import Sequence
from operator import lt
from typing import TYPE_CHECKING

from mpidl.comm.sharing import SharedBlocks

if TYPE_CHECKING:
    import torch
    from mpi4py import MPI
    from torch import Tensor


class Board:
    """Rows of one length and dtype that each rank writes for all to read; of ranks that are on one node.

    When all have written, they pass a barrier, and from then on may read; who writes again has passed another one, at
    which all arrived when they had read. `failure` says why there is no such memory, in the same words on all ranks.
    """

    def __init__(self, comm: MPI.Intracomm, length: int, dtype: torch.dtype) -> None:
        self._comm, self._length, self._dtype = comm, length, dtype
        self._rows: dict[str, list[list[Tensor]]] = {}
        self.failure = ""

    def rows(self, name: str, counts: Sequence[int]) -> list[list[Tensor]]:
        """By rank its rows of this name, at least so many, unless there is no room; what they held may be lost.

        A collective call where there were fewer.
        """
        ranks = tuple(range(self._comm.size))
        rows = self._rows.setdefault(name, [[] for _ in ranks])
        held = list(map(len, rows))
        if any(map(lt, held, counts)) and not self.failure:
            wanted = max(held[self._comm.rank], counts[self._comm.rank])
            # Freed before more is taken.
            rows.clear()
            memory = SharedBlocks(self._comm, ranks, wanted, self._length, self._dtype, blocks=1)
            self.failure = memory.failure
            rows += [[] if self.failure else list(memory.of(rank)[0]) for rank in ranks]
        return rows
