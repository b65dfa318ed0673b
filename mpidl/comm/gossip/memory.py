"""Where the blocks of an exchange lie: in memory that the ranks of a node share, or in this rank's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mpidl.comm.sharing import SharedBlocks
from mpidl.errors import ConfigError
from mpidl.rows import new_rows

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.neighbourhood import Neighbourhood


class Blocks:
    """This rank's blocks `[k, P]`, `own`; and those of the ranks in `sharing`, where there are such.

    `warning` says on the lowest rank of a node why its ranks share no memory, where they should have.
    """

    def __init__(
        self, own: tuple[Tensor, ...], shared: SharedBlocks | None, sharing: frozenset[int], warning: str = ""
    ) -> None:
        self.own, self.sharing, self._shared, self.warning = own, sharing, shared, warning

    def of(self, rank: int) -> tuple[Tensor, ...]:
        """The blocks of a rank in `sharing`."""
        if self._shared is None:
            raise ValueError(f"the memory of rank {rank} is not shared")
        return self._shared.of(rank)

    def close(self) -> None:
        if self._shared is not None:
            self._shared.close()


def allocate(neighbourhood: Neighbourhood, rows: int, length: int, dtype: torch.dtype, blocks: int = 2) -> Blocks:
    """Blocks of zeros [rows, length], as `gossip.transport` has it; made by all ranks together.

    Where sharing fails, all ranks of that node take messages instead, and one of them warns of it; unless sharing was
    asked for, which makes it an error.
    """
    world, transport = neighbourhood.world, neighbourhood.settings.transport
    warning = ""
    if transport == "shared" and world.device.type != "cpu":
        raise ConfigError(f"'shared' is for rows in main memory, not on {world.device}", "gossip.transport")
    if transport != "messages" and world.device.type == "cpu" and world.size > 1:
        shared = SharedBlocks(neighbourhood.comm, world.node_ranks, rows, length, dtype, blocks)
        if not shared.failure:
            return Blocks(shared.of(world.rank), shared, frozenset(world.node_ranks) - {world.rank})
        if transport == "shared":
            raise ConfigError(f"'shared' is not possible on {world.host}: {shared.failure}", "gossip.transport")
        if world.rank == world.node_ranks[0]:
            warning = f"{world.host}: rows go as messages, not through shared memory: {shared.failure}"
    own = new_rows((blocks, rows, length), dtype, world.device).unbind()
    return Blocks(own, None, frozenset(), warning)
