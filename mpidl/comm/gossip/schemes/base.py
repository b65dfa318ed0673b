"""What a gossip scheme is: settings, and how they make an exchange."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

from pydantic import Field

from mpidl.registry import Part

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.neighbourhood import Neighbourhood


class Exchange(Protocol):
    """Gossip of one quantity, whose blocks [k, P] swap their roles at every round.

    The caller writes Z into `present` and gives it to `start`; `finish` returns another block, filled, which is the
    present one from then on. With three blocks Z may stand in `draft` instead: then the present block keeps what it
    held until the next `start`. Z must be left alone from `start` on: neighbours may still be reading it. `mix` is both
    halves in one. All ranks start and finish their exchanges in one order.
    """

    blocks: tuple[Tensor, ...]
    notice: str
    """What a person should know of the way that its rows take; empty on all ranks but one."""

    @property
    def transport(self) -> str:
        """How rows reach this rank's neighbours, in words."""

    @property
    def present(self) -> Tensor:
        """The block returned last; the first one before any round."""

    @property
    def draft(self) -> Tensor:
        """Of three blocks, the one beside the present one that may be written and started."""

    def start(self, Z: Tensor, t: int) -> None: ...

    def finish(self) -> Tensor: ...

    def mix(self, Z: Tensor, t: int) -> Tensor: ...

    def close(self) -> None: ...


class Scheme(Part):
    """Settings of one scheme; it turns a neighbourhood into exchanges of named quantities."""

    gamma: float = Field(gt=0, le=1, description="consensus step γ")

    @abstractmethod
    def exchange(self, around: Neighbourhood, name: str, number: int, blocks: int = 2) -> Exchange:
        """The exchange of this quantity; `number` is the same on every rank, and no other exchange has it."""
