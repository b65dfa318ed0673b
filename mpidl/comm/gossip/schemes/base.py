"""What a gossip scheme is: settings, and how they make an exchange from what carries rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from pydantic import Field

from mpidl.registry import Part

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.plan import Edge
    from mpidl.comm.gossip.sizes import Cargo
    from mpidl.comm.meters import Meters
    from mpidl.compressors.base import Compressor
    from mpidl.graphs.base import Topology
    from mpidl.layout import Layout
    from mpidl.state import State


class Exchange(Protocol):
    """Gossip of one quantity, whose blocks [k, P] swap their roles at every round.

    The caller writes Z into `present` and gives it to `start`; `finish` returns a block, filled, which is the present
    one from then on. With three blocks Z may stand in `draft` instead: then the present block keeps what it held until
    the next `start`. Z must be left alone from `start` on: neighbours may still be reading it. `mix` is both halves in
    one. All ranks start and finish their exchanges in one order.
    """

    @property
    def blocks(self) -> Sequence[Tensor]:
        """All blocks that it has; a scheme whose rows nobody else reads needs one less."""

    @property
    def present(self) -> Tensor:
        """The block returned last; the first one before any round."""

    @property
    def draft(self) -> Tensor:
        """Of three blocks, the one beside the present one that may be written and started."""

    def start(self, Z: Tensor, t: int) -> None: ...

    def finish(self) -> Tensor: ...

    def mix(self, Z: Tensor, t: int) -> Tensor: ...

    def neighbours(self, agent: int) -> Mapping[int, Tensor]:
        """By neighbour, what this rank's agent knows of its row after the last mixing; until the next one begins."""


class EdgeExchange(Protocol):
    """A row for each directed edge, with something else for every neighbour."""

    def outgoing(self, t: int) -> Mapping[Edge, Tensor]:
        """Memory for the row of each edge (i, j) of round t, i here: what agent i has for j. All is to be written."""

    def swap(self, t: int) -> Mapping[Edge, Tensor]:
        """Sends what was written; the row of each edge (j, i), i here, until the next `outgoing`."""

    def keep(self, agent: int, row: Tensor, t: int) -> None:
        """Make of a row that an agent has for itself what would have come of it on the way, where rows are packed."""


Key = TypeVar("Key", int, "Edge")


class Carrier(Protocol[Key]):
    """What takes rows whole to those that they are for: a row of each agent, or of each directed edge."""

    def outgoing(self, t: int) -> Mapping[Key, Tensor]:
        """Memory for the rows of round t that leave agents here; all of it is to be written."""

    def start(self, t: int) -> None:
        """Send what was written."""

    def finish(self) -> Mapping[Key, Tensor]:
        """What came for agents here, from those of this rank as well; until the next `outgoing`."""


class Ground(Protocol):
    """What exchanges are built on: neighbours on ranks, or the rehearsal of a run, in which nobody is there.

    A scheme declares in `state` what it keeps between rounds, and draws from (seed, purpose, agent, round), so that
    neither depends on the placement.
    """

    @property
    def topology(self) -> Topology: ...

    @property
    def state(self) -> State: ...

    @property
    def layout(self) -> Layout: ...

    @property
    def seed(self) -> int: ...

    @property
    def compressor(self) -> Compressor:
        """What packs rows; there is one where the scheme `compresses`."""

    @property
    def meters(self) -> Meters: ...

    def rows(self, name: str, gamma: float, blocks: int, readable: bool) -> Exchange:
        """Whole rows, as they are or rounded to the wire: Z + γ(WZ − Z). `readable`: neighbours' rows can be read."""

    def carrier(self, name: str, cargo: Cargo) -> Carrier[int]:
        """Rows of agents that go to all their receivers."""

    def edge_carrier(self, name: str, cargo: Cargo) -> Carrier[Edge]:
        """Rows of edges, of which each goes to one receiver."""


class Scheme(Part):
    """Settings of one scheme; on some ground it makes exchanges of named quantities."""

    compresses: ClassVar[bool] = False
    """Whether it packs rows, by `gossip.compressor`."""
    feeds_back: ClassVar[bool] = False
    """Whether what packing loses comes back in later rounds: then it must be less than what was packed, or it grows."""
    outlives: ClassVar[bool] = False
    """Whether it stays right when agents are dropped: what it keeps holds without them, or begins anew (`renew`)."""

    gamma: float = Field(gt=0, le=1, description="consensus step γ")

    @abstractmethod
    def exchange(self, ground: Ground, name: str, blocks: int = 2, readable: bool = False) -> Exchange:
        """The exchange of this quantity. With `blocks` 2 what is mixed is always the present block, with 3 it may be
        the draft. `readable`: neighbours' rows will be read."""

    def check(self, topology: Topology) -> None:
        """Refuse a graph on which the scheme would not do what it says, whatever the algorithm needs of it."""
