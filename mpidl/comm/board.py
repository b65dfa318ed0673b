"""Rows that the ranks of one node show each other in shared memory, so that sums over them need no messages."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpidl.comm.sharing import SharedBlocks

if TYPE_CHECKING:
    import torch

    from mpidl.comm.tree import Cut
    from mpidl.comm.world import World


log = logging.getLogger("mpidl.comm")

# Up to so many bytes a row has two places, since a barrier costs more than the memory.
TWICE = 2**20


class Board:
    """Rows of every rank for all to read, written anew in each turn.

    A rank writes its rows and passes a barrier; from then on all may read them. Before it writes again, all must have
    read: longer rows wait at another barrier for that. Short ones have two places, used in turn: who writes to a place
    again has passed the barrier of the turn between, at which all arrived when they had read what was there before.
    """

    def __init__(self, world: World, parameters: int, dtype: torch.dtype, wanted: bool = True) -> None:
        self._world, self._parameters, self._dtype = world, parameters, dtype
        self._blocks: SharedBlocks | None = None
        self._rows, self._turn = 0, 0
        self._places = 2 if parameters * dtype.itemsize <= TWICE else 1
        # Between nodes there is no memory to share.
        self._possible = wanted and world.size > 1 and len(world.node_ranks) == world.size

    def fits(self, plan: Cut, results: int) -> bool:
        """Whether there is room for the rows of this plan and so many results of each rank. A collective call.

        Room is made where there was none. False where memory cannot be shared: for good, and on all ranks.
        """
        rows = max(map(len, plan.nodes)) + results
        if self._possible and rows > self._rows:
            world, blocks = self._world, self._places
            self._blocks = SharedBlocks(world.comm, world.node_ranks, rows, self._parameters, self._dtype, blocks)
            self._rows, self._possible = rows, not self._blocks.failure
            if not self._possible and world.rank == 0:
                log.warning("sums over agents go by messages, not through shared memory: %s", self._blocks.failure)
        return self._possible

    def show(self, rows: Sequence[torch.Tensor], plan: Cut) -> list[torch.Tensor]:
        """The rows of all ranks, in the order of the plan; own ones are those given. A collective call."""
        rank = self._world.rank
        if self._places == 1:
            self._world.barrier()
        self._turn = (self._turn + 1) % self._places
        for place, row in enumerate(rows):
            self._of(rank)[place].copy_(row)
        self._world.barrier()
        return [
            rows[place] if source == rank else self._of(source)[place]
            for source, nodes in enumerate(plan.nodes)
            for place in range(len(nodes))
        ]

    def result(self, rank: int) -> torch.Tensor:
        """Memory for a result of this turn that a rank lets the others see, after another barrier."""
        return self._of(rank)[self._rows - 1]

    def _of(self, rank: int) -> torch.Tensor:
        if self._blocks is None:
            raise ValueError("the board has no rows yet")
        return self._blocks.of(rank)[self._turn]
