"""The blocks of an exchange: in memory that the ranks of a node share, or in this rank's own; whose row lies where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from mpidl.comm.sharing import SharedBlocks
from mpidl.errors import ConfigError
from mpidl.rows import new_rows

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.neighbourhood import Neighbourhood
    from mpidl.comm.gossip.plan import Item, Plan


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
    neighbourhood.settings.require_reach(world.device)
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


class Stock:
    """Rows in blocks by the item that each belongs to: of this rank, and of ranks whose memory it reads."""

    def __init__(
        self, memory: Blocks, rank: int, recurring: bool, items: Callable[[Plan, int], Sequence[Item]]
    ) -> None:
        """`recurring`: whether plans come back. `items`: those of a rank in a round, in the order of their rows."""
        self.memory, self._rank, self._recurring, self._items = memory, rank, recurring, items
        self._newest: Plan | None = None
        self._places: dict[tuple[Plan, int], dict[Item, int]] = {}
        self._own: dict[tuple[Plan, int], dict[Item, Tensor]] = {}

    def places(self, plan: Plan, rank: int) -> Mapping[Item, int]:
        """Where each item of a rank lies."""
        if plan is not self._newest and not self._recurring:
            self._newest = plan
            self._places.clear()
            self._own.clear()
        if (plan, rank) not in self._places:
            self._places[plan, rank] = {item: place for place, item in enumerate(self._items(plan, rank))}
        return self._places[plan, rank]

    def own(self, plan: Plan, side: int) -> Mapping[Item, Tensor]:
        """The rows of this rank in block `side`."""
        places = self.places(plan, self._rank)
        if (plan, side) not in self._own:
            block = self.memory.own[side]
            self._own[plan, side] = {item: block[place] for item, place in places.items()}
        return self._own[plan, side]

    def shared(self, plan: Plan, rank: int, item: Item, side: int) -> Tensor:
        """A row of another rank of this node, in its own memory."""
        return self.memory.of(rank)[side][self.places(plan, rank)[item]]
