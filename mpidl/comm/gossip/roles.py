"""The roles of the blocks of an exchange: which may be written, and which others read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


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
