"""The blocks of an exchange: which may be written, which others read, and whose row lies where in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.memory import Blocks
    from mpidl.comm.gossip.plan import Item, Plan


class Roles:
    """The roles that two or three blocks take in turns.

    A turn publishes a block, either the present one or, with three, the draft, and fills the block that was published
    in the turn before: letters of this turn say that its readers are through. What is filled becomes the present
    block. Of three blocks, the remaining one becomes the draft: it is neither published nor filled, so nobody else
    reads it.
    """

    def __init__(self, blocks: Sequence[Tensor], name: str) -> None:
        if len(blocks) not in (2, 3):
            raise ValueError(f"exchange {name!r}: {len(blocks)} blocks were asked for; an exchange has two or three")
        self._name = name
        self._addresses = [block.data_ptr() for block in blocks]
        self.present = 0
        """Number of the block returned last."""
        self.draft = 1 if len(blocks) == 3 else None
        """Number of the block that may be written beside the present one."""
        self.filled = len(blocks) - 1
        """Number of the block that a turn fills, which the turn before has published."""

    def turn(self, Z: Tensor) -> tuple[int, int]:
        """The number of the block Z, which is to be published, and of the block to be filled."""
        return self._publishable(Z), self.filled

    def ended(self, published: int, filled: int) -> None:
        """Changes the roles once a turn is finished."""
        self.present, self.filled = filled, published
        if self.draft is not None:
            (self.draft,) = {0, 1, 2} - {published, filled}

    def _publishable(self, Z: Tensor) -> int:
        address = Z.data_ptr()
        if address not in self._addresses:
            count = {2: "two", 3: "three"}[len(self._addresses)]
            raise ValueError(f"exchange {self._name!r}: what is mixed must be one of its {count} blocks")
        block = self._addresses.index(address)
        if block not in (self.present, self.draft):
            returned = "mix the one returned last" + (" or the draft" if self.draft is not None else "")
            raise ValueError(f"exchange {self._name!r}: neighbours may still read this block; {returned}")
        return block


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
