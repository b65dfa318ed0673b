"""What a gossip scheme is: settings, and how they make an exchange."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

from mpidl.registry import Part

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.neighbourhood import Neighbourhood


class Exchange(Protocol):
    """Gossip of one quantity. Its two blocks [k, P] swap their roles at every round.

    The caller writes Z, one of the blocks, and gives it to `start`; `finish` returns the other block, filled, which
    the caller may write from then on. Z must be left alone from `start` on: neighbours may still be reading it, and
    the next round overwrites it. `mix` is both halves in one. All ranks start and finish their exchanges in one order.
    """

    blocks: tuple[Tensor, Tensor]
    notice: str
    """What a person should know of the way that its rows take; empty on all ranks but one."""

    @property
    def transport(self) -> str:
        """How rows reach this rank's neighbours, in words."""

    def start(self, Z: Tensor, t: int) -> None: ...

    def finish(self) -> Tensor: ...

    def mix(self, Z: Tensor, t: int) -> Tensor: ...

    def close(self) -> None: ...


class Scheme(Part):
    """Settings of one scheme; it turns a neighbourhood into exchanges of named quantities."""

    @abstractmethod
    def exchange(self, around: Neighbourhood, name: str, number: int) -> Exchange:
        """The exchange of this quantity; `number` is the same on every rank, and no other exchange has it."""
