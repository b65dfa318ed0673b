"""Rows that travel to be read whole by those that they are for: packed rows of agents, and rows of single edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from mpidl.comm.gossip.memory import Blocks, Stock, allocate
from mpidl.comm.gossip.messages import short_name
from mpidl.comm.gossip.plan import Edge, edges_from
from mpidl.comm.gossip.sizes import PARCEL_BLOCKS, Cargo
from mpidl.comm.gossip.turns import Turn, Turns, compare
from mpidl.errors import ConfigError
from mpidl.rows import new_rows, room

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.neighbourhood import Neighbourhood
    from mpidl.comm.gossip.overlap import Waits
    from mpidl.comm.gossip.plan import Item, Plan


Key = TypeVar("Key", int, Edge)
"""What a row belongs to, the same kind for all rows of one exchange."""


class Parcels(Generic[Key]):
    """A row [length] for each agent here, or for each edge that begins here, carried as it is.

    In a turn the caller writes all of `outgoing(t)`, gives it away by `start(t)`, and finds in `finish()` the rows of
    its agents' neighbours, or of the edges that end here. These last until the next `outgoing`.
    """

    def __init__(self, neighbourhood: Neighbourhood, name: str, cargo: Cargo, per_edge: bool) -> None:
        """A collective call."""
        self.name, self._neighbourhood, self._cargo, self._per_edge = name, neighbourhood, cargo, per_edge
        world, self._plans = neighbourhood.world, neighbourhood.edge_plans if per_edge else neighbourhood.plans
        self._placement = world.placement
        compare(neighbourhood, name, cargo, dtype=short_name(cargo.dtype), per_edge=per_edge)
        self._memory = self._allocate()
        self.warning = self._memory.warning
        self._stock = Stock(self._memory, world.rank, self._plans.recurring, self._items)
        self._turns = Turns(neighbourhood, name, self._plans, cargo, self._stock)
        self._side = 0

    @property
    def transport(self) -> str:
        """How rows reach this rank's neighbours, in words."""
        return self._turns.transport

    @property
    def memory(self) -> int:
        """Bytes of rows that leave and that arrive."""
        rows = PARCEL_BLOCKS * len(self._memory.own[0])
        return room(rows, self._cargo.length, self._cargo.dtype) + self._turns.memory

    def outgoing(self, t: int) -> Mapping[Key, Tensor]:
        """Memory for the rows of round t, by item."""
        plan = self._plans.at(t)
        places = self._stock.places(plan, self._neighbourhood.world.rank)
        if len(places) > len(self._memory.own[0]):
            # A graph that is drawn anew has more edges here than ever before; nobody else reads this memory.
            cargo = self._cargo
            shape = (PARCEL_BLOCKS, len(places), cargo.length)
            self._memory.own = new_rows(shape, cargo.dtype, self._neighbourhood.world.device).unbind()
        return cast("Mapping[Key, Tensor]", self._stock.own(plan, self._side))

    def start(self, t: int) -> None:
        """Publish what was written."""
        self._turns.start(self._side, t, self._collect)

    def finish(self) -> Mapping[Key, Tensor]:
        """The rows that are for agents here, those of neighbours on this rank among them."""
        self._turns.finish()
        self._side = 1 - self._side
        turn = self._turns.last
        rows: dict[Item, Tensor] = {}
        for agent in self._neighbourhood.world.mine:
            for neighbour in turn.plan.mixing.neighbours[agent]:
                item: Item = (neighbour, agent) if self._per_edge else neighbour
                if item not in rows:
                    rows[item] = self._turns.received(turn, item, self._placement.owner(neighbour))
        return cast("Mapping[Key, Tensor]", rows)

    def abandon(self) -> None:
        """Ends its thread, if it has one, and nothing else."""
        self._turns.abandon()

    def close(self) -> None:
        """Releases requests and memory; no turn may be under way."""
        self._turns.close()
        self._memory.close()

    def _collect(self, turn: Turn) -> Waits:
        """Until all rows are here."""
        route = turn.route
        if route.everything is not None:
            return
        for c in range(-(-self._cargo.length // self._turns.chunk)):
            route.departures.advance(c)
            for arrival in route.arrivals.values():
                yield arrival.awaited(c)
                arrival.arrive(c)

    def _items(self, plan: Plan, rank: int) -> tuple[Item, ...]:
        agents = self._placement.of_rank(rank)
        return edges_from(plan.mixing, agents) if self._per_edge else agents

    def _allocate(self) -> Blocks:
        neighbourhood, cargo = self._neighbourhood, self._cargo
        if not self._per_edge:
            return allocate(neighbourhood, len(neighbourhood.world.mine), cargo.length, cargo.dtype, PARCEL_BLOCKS)
        if self._plans.recurring:
            most = max(plan.messages for plan in self._plans.all(1))
            return allocate(neighbourhood, most, cargo.length, cargo.dtype, PARCEL_BLOCKS)
        # Nobody knows how many edges of a drawn graph will begin here, so that no memory can be shared beforehand.
        if neighbourhood.settings.transport == "shared" and neighbourhood.world.size > 1:
            raise ConfigError(
                "'shared' is not for rows of edges of a graph that is drawn anew; choose auto, or another graph",
                "gossip.transport",
            )
        return Blocks(
            new_rows((PARCEL_BLOCKS, 0, cargo.length), cargo.dtype, neighbourhood.world.device).unbind(),
            None,
            frozenset(),
        )
