"""The turns of an exchange, whatever it carries: letters go out, rows follow, and the rest is done as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mpidl.comm import survivors
from mpidl.comm.gossip.handshake import Header, compare_beliefs, graph_digest
from mpidl.comm.gossip.messages import short_name
from mpidl.comm.gossip.overlap import Helper, Waits, drive
from mpidl.comm.gossip.routes import Route, Routes
from mpidl.errors import CommunicationError

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.memory import Stock
    from mpidl.comm.gossip.neighbourhood import Neighbourhood
    from mpidl.comm.gossip.plan import Item, Plan, Plans
    from mpidl.comm.gossip.sizes import Cargo


class Turn(NamedTuple):
    """One turn once its letters are here: rows of ranks that share memory can be read, and others that are short.

    The chunks of longer ones are arriving.
    """

    plan: Plan
    route: Route
    side: int
    """The block that this rank has published."""
    published: Mapping[int, int]
    """By rank, the block that it has published."""


Rest: TypeAlias = Callable[[Turn], Waits]
"""What is to be done in a turn once its letters are here, with the waits in between."""


class Turns:
    """One turn after another of one exchange, in which a rank publishes a block and reads those of its neighbours.

    A letter from each neighbour says that its rows are there to be read, and that it has read what this rank
    published in the turn before. So neighbours wait for each other, and nobody for anybody else.
    """

    def __init__(
        self,
        neighbourhood: Neighbourhood,
        name: str,
        plans: Plans,
        cargo: Cargo,
        stock: Stock,
    ) -> None:
        """A collective call."""
        self._stock = stock
        self.name, self._number, self._neighbourhood, self._plans, self._cargo = (
            name,
            neighbourhood.number(),
            neighbourhood,
            plans,
            cargo,
        )
        self._meters, self._dtype = neighbourhood.meters, short_name(cargo.dtype)
        self.sharing = stock.memory.sharing
        """The ranks whose memory this one reads; rows of others arrive by messages."""
        self.all_shared = len(self.sharing) + 1 == neighbourhood.world.size
        self.chunk = min(neighbourhood.sizes.chunk_of(cargo), max(1, cargo.length))
        """Elements of a row that travel, and are read, at a time."""
        self._comm = survivors.duplicate(neighbourhood.comm)
        self._routes = Routes(neighbourhood, self._comm, stock.own, self.sharing, self.chunk, cargo, plans.recurring)
        self._helper = Helper() if neighbourhood.settings.overlap and not self.all_shared else None
        self._turn = 0
        self._lengthen = False
        self._waits: Waits | None = None
        self._last: Turn | None = None

    @property
    def inside(self) -> bool:
        """Whether rows are so small that they travel inside letters."""
        return self._routes.inside

    @property
    def transport(self) -> str:
        """How rows reach this rank's neighbours: shared memory, messages, or both, by where they run."""
        if self.all_shared:
            return "shared memory" if self.sharing else "none, one rank"
        return "shared memory and messages" if self.sharing else "messages"

    @property
    def memory(self) -> int:
        """Bytes for rows on their way."""
        return self._routes.memory

    def saw(self, route: Route, seconds: float) -> bool:
        """A turn's rows took so long to arrive, from their first chunk to their last; whether routes change by it."""
        self._lengthen = route.pace is not None and route.pace.see(seconds)
        return self._lengthen

    @property
    def last(self) -> Turn:
        """The last turn whose letters have come."""
        if self._last is None:
            raise ValueError(f"exchange {self.name!r}: there was no turn yet")
        return self._last

    def start(self, side: int, t: int, rest: Rest) -> None:
        """Publish block `side` for round t; `rest` is what remains to be done once the neighbours' letters are here."""
        if self._waits is not None:
            raise ValueError(f"exchange {self.name!r}: start() before the turn before was finished")
        if self._lengthen:
            self._lengthen, self._last = False, None
            self._routes.lengthen()
        plan = self._plans.at(t)
        header = Header(
            exchange=self._number,
            turn=self._turn,
            round=t,
            length=self._cargo.length,
            dtype=self._dtype,
            graph=plan.mixing.digest,
            format=self._cargo.digest,
            block=side,
        )
        with self._meters.time("packing"):
            route = self._routes.next(plan, side)
            route.receive()
            route.letters.write(header, route.rows)
            route.letters.sent.start()
            for batch in route.departures.first():
                batch.start()
        row_bytes = self._cargo.row_bytes
        self._meters.bytes_sent += plan.messages * row_bytes
        self._meters.bytes_shared += route.rows_read * row_bytes
        self._meters.handed_to_mpi(route.bytes, route.messages)
        self._turn += 1
        self._waits = self._complete(plan, route, header, side, rest)
        if self._helper:
            self._helper.give(self._waits)

    def finish(self) -> None:
        """Until the turn is over: all is done that `rest` says, and what was published has left."""
        if self._waits is None:
            raise ValueError(f"exchange {self.name!r}: finish() without start()")
        waits, self._waits = self._waits, None
        if self._helper is None:
            drive(waits, self._meters)
        else:
            with self._meters.time("waiting"):
                awaited = self._helper.take_back()
            drive(waits, self._meters, awaited)

    def received(self, turn: Turn, item: Item, sender: int) -> Tensor:
        """The row of an item of rank `sender` where it is after its turn: here, in that rank's memory, or arrived."""
        if sender == self._neighbourhood.world.rank:
            return self._stock.own(turn.plan, turn.side)[item]
        if sender in self.sharing:
            return self._stock.shared(turn.plan, sender, item, turn.published[sender])
        return turn.route.received(item)

    def _complete(self, plan: Plan, route: Route, header: Header, side: int, rest: Rest) -> Waits:
        """What is to be done up to the end of the turn, and what is to be awaited for it."""
        letters, everything = route.letters, route.everything
        # Each wait may cost a rank its turn on a core. Where plans change, though, letters are looked at first: rows
        # that a neighbour's plan does not have would never come.
        first = everything if everything and self._plans.static else letters.arrived
        try:
            yield first
        except CommunicationError as error:
            raise letters.explain(error, header, self.name) from error
        published = letters.check(header, self.name)
        if everything and everything is not first:
            yield everything
        route.land()
        self._last = Turn(plan, route, side, published)
        yield from rest(self._last)
        if everything is None:
            yield route.leaving

    def abandon(self) -> None:
        """Ends its thread, if it has one, and nothing else."""
        if self._helper:
            self._helper.close()

    def close(self) -> None:
        """Releases requests; no turn may be under way."""
        if self._helper:
            self._helper.close()
        self._routes.free()
        self._last = None
        survivors.free(self._comm)


def compare(neighbourhood: Neighbourhood, name: str, cargo: Cargo, **more: object) -> None:
    """Raises an error on all ranks unless all mean the same by the exchange that is about to be made."""
    beliefs = {
        "exchange": f"{name!r} (number {neighbourhood.made})",
        "device": neighbourhood.world.device.type,
        "agents": str(neighbourhood.world.agents),
        "length": str(cargo.length),
        **{key: str(value) for key, value in more.items()},
        "format": cargo.meaning,
        "settings": str(neighbourhood.settings),
        "sizes": str(neighbourhood.sizes),
        "graph": graph_digest(neighbourhood.topology),
    }
    compare_beliefs(neighbourhood.comm, beliefs, neighbourhood.world.hosts)
