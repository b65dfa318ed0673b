"""What one rank starts and awaits in a round: the plan, bound to memory and to MPI requests.

Routes of static and periodic graphs are kept with their persistent requests; those of random graphs live for a round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mpidl.comm.gossip.handshake import Letters
from mpidl.comm.gossip.messages import BatchGroup, Lane, reaches
from mpidl.comm.gossip.pace import Pace
from mpidl.comm.gossip.plan import Item, Link, Plan
from mpidl.comm.gossip.streams import Arrival, Departures, Slots, make_arrivals

if TYPE_CHECKING:
    from mpi4py import MPI
    from torch import Tensor

    from mpidl.comm.gossip.neighbourhood import Neighbourhood
    from mpidl.comm.gossip.sizes import Cargo

RowsOf: TypeAlias = "Callable[[Plan, int], Mapping[Item, Tensor]]"
"""Of a plan and the number of a block, the rows in it that leave this rank by that plan."""


@dataclass(frozen=True)
class Route:
    letters: Letters
    arrivals: Mapping[Item, Arrival]
    """By item, the large rows that arrive."""
    landing: Slots
    """Where they do."""
    departures: Departures
    rows: Mapping[Item, Tensor]
    """The rows sent, by item."""
    arriving: BatchGroup
    """Letters, and as many chunks of rows as there is room for."""
    leaving: BatchGroup
    """What to wait for before the rows may be written again."""
    everything: BatchGroup | None
    """What leaves and what arrives, where a row goes as one message at most; longer ones are awaited by the chunk."""
    bytes: int
    """Bytes of rows handed to MPI in a round; headers, 64 bytes per letter, are not counted."""
    messages: int
    rows_read: int
    """How many rows are read in other ranks' memory."""
    pace: Pace | None
    """Where rows of other nodes arrive chunk by chunk through rings: how long these are, until that is settled."""

    def received(self, item: Item) -> Tensor:
        """A row that arrived by message and is kept whole."""
        if item in self.arrivals:
            row = self.arrivals[item].whole
            if row is None:
                raise ValueError(f"the row of {item} was not kept")
            return row
        for letter in self.letters.incoming:
            if item in letter.items:
                return letter.here[letter.items.index(item)]
        raise ValueError(f"no row of {item} arrives")

    def receive(self) -> None:
        """Makes ready for all that arrives."""
        if self.arrivals:
            self.landing.idle()
        self.letters.clear()
        self.arriving.start()

    def land(self) -> None:
        """Brings what has arrived to where it is read; long rows land chunk by chunk."""
        self.letters.land()
        if self.everything is not None:
            for arrival in self.arrivals.values():
                arrival.arrive(0)


class Routes:
    """The routes of one exchange, one round after another."""

    def __init__(
        self,
        neighbourhood: Neighbourhood,
        comm: MPI.Intracomm,
        rows: RowsOf,
        sharing: frozenset[int],
        chunk: int,
        cargo: Cargo,
        recurring: bool,
    ) -> None:
        """`rows`: those of a block, by item. `sharing`: ranks whose memory this one reads, and they its."""
        world, sizes = neighbourhood.world, neighbourhood.sizes
        self._rows, self._sharing, self._ahead, self._cargo = rows, sharing, sizes.ahead, cargo
        self._device = world.device
        self.inside = cargo.row_bytes <= sizes.inside
        """Whether rows travel inside letters."""
        self._lane = Lane(comm, recurring)
        self._near, self._near_ring = frozenset(world.node_ranks), sizes.near
        chunks = -(-cargo.length // chunk)
        self._pace = Pace(min(sizes.far, chunks), min(sizes.most, chunks))
        direct = self.inside or reaches(comm, world.device)
        self._landing = Slots(chunk, cargo.dtype, world.device, direct, twins=True)
        self._leaving = Slots(chunk, cargo.dtype, world.device, direct)
        self._before: Plan | None = None
        self._routes: dict[tuple[Plan, Plan | None, int], Route] = {}
        self._letters: dict[tuple[Plan, frozenset[int], frozenset[int]], Letters] = {}
        self._arrivals: dict[Plan, dict[Item, Arrival]] = {}
        self._departures: dict[tuple[Plan, int], Departures] = {}

    def lengthen(self) -> None:
        """Makes rings anew, as long as they are to be now; between turns."""
        self.free()
        self._landing.drop()

    def next(self, plan: Plan, side: int) -> Route:
        """The route of the next round, in which block `side` is sent."""
        before, self._before = self._before, plan
        if not self._lane.keep:
            self.free()
        route = self._routes.get((plan, before, side))
        if route is None:
            route = self._routes[plan, before, side] = self._make(plan, before, side)
        return route

    def _make(self, plan: Plan, before: Plan | None, side: int) -> Route:
        lane, rows, sharing = self._lane, self._rows(plan, side), self._sharing
        # Whose memory this rank read before, or who read its: they may write there again when they hear of it.
        thanks_to = (sharing & before.sources) - plan.targets if before else frozenset()
        thanks_by = (sharing & before.targets) - plan.sources if before else frozenset()
        which = (plan, thanks_to, thanks_by)
        if which not in self._letters:
            self._letters[which] = self._make_letters(*which)
        if plan not in self._arrivals:
            links = self._streamed(plan.receives)
            rings = {link.rank: self._near_ring if link.rank in self._near else self._pace.ring for link in links}
            self._arrivals[plan] = make_arrivals(lane, links, self._cargo, self._landing, rings)
        if (plan, side) not in self._departures:
            links = self._streamed(plan.sends)
            self._departures[plan, side] = Departures(lane, links, rows, self._leaving, self._ahead)
        letters, arrivals, departures = self._letters[which], self._arrivals[plan], self._departures[plan, side]
        leaving = [*departures.batches, letters.sent]
        arriving = [letters.arrived, *(message for arrival in arrivals.values() for message in arrival.messages)]
        far = not self._cargo.whole and any(link.rank not in self._near for link in self._streamed(plan.receives))
        short = self._cargo.length <= self._landing.elements or not (arrivals or departures.batches)
        return Route(
            letters=letters,
            arrivals=arrivals,
            landing=self._landing,
            departures=departures,
            rows=rows,
            arriving=BatchGroup(lane, arriving),
            leaving=BatchGroup(lane, leaving),
            everything=BatchGroup(lane, [*arriving, *leaving]) if short else None,
            bytes=letters.payload_bytes + departures.bytes,
            messages=len(letters.outgoing) + departures.messages,
            rows_read=sum(len(link.items) for link in plan.receives if link.rank in sharing),
            pace=self._pace if far and not self._pace.settled else None,
        )

    def _streamed(self, links: Sequence[Link]) -> list[Link]:
        return [] if self.inside else [link for link in links if link.rank not in self._sharing]

    def _make_letters(self, plan: Plan, thanks_to: frozenset[int], thanks_by: frozenset[int]) -> Letters:
        """Between those that read each other now, and those that have nothing to tell but that they are through."""
        outgoing, incoming = (
            [(link, self.inside and link.rank not in self._sharing) for link in links]
            + [(Link(rank, ()), False) for rank in sorted(thanks)]
            for links, thanks in ((plan.sends, thanks_to), (plan.receives, thanks_by))
        )
        return Letters(self._lane, outgoing, incoming, self._cargo, self._device)

    @property
    def memory(self) -> int:
        """Bytes for rows on their way: letters, and chunks."""
        return sum(letters.memory for letters in self._letters.values()) + self._landing.memory + self._leaving.memory

    def free(self) -> None:
        for letters in self._letters.values():
            letters.free()
        for arrivals in self._arrivals.values():
            for arrival in arrivals.values():
                arrival.free()
        for departures in self._departures.values():
            departures.free()
        self._routes.clear()
        self._letters.clear()
        self._arrivals.clear()
        self._departures.clear()
