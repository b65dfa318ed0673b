"""The exchange of whole rows between neighbours: blocks per rank, of which one is read while another is written.

In its turn a rank publishes one block (letters to its neighbours say so, rows follow where memory is not shared), and
fills another from its own rows and theirs. Neighbours may have read that other block in the turn before; a letter
from each of them says that they are through. So neighbours wait for each other, and nobody for anybody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.comm.gossip.blocks import Roles
from mpidl.comm.gossip.handshake import Header, agree, graph_digest
from mpidl.comm.gossip.memory import allocate
from mpidl.comm.gossip.messages import short_name
from mpidl.comm.gossip.overlap import Helper, Steps, drive
from mpidl.comm.gossip.routes import Route, Routes
from mpidl.comm.gossip.sums import Row, Sum, split
from mpidl.errors import CommunicationError
from mpidl.rows import room

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.neighbourhood import Neighbourhood
    from mpidl.comm.gossip.plan import Plan
    from mpidl.comm.gossip.streams import Arrival


Term = tuple[Row, float, "Arrival | None", "Arrival | None"]
"""A neighbour's row and weight; if the row arrives, what to wait for at its first use and to release after its last."""
Work = list[tuple[Row, Row, float, list[Term]]]
"""For each agent of this rank: where its mixed row goes, its own row and weight, and its neighbours."""


class RowExchange:
    """Z + γ(WZ − Z) for one named quantity; see `mpidl.comm.gossip.schemes.base.Exchange` for how it is used."""

    def __init__(self, around: Neighbourhood, name: str, number: int, gamma: float, blocks: int = 2) -> None:
        self.name, self._number, self._around = name, number, around
        self._world, self._meters, self._plans = around.world, around.meters, around.plans
        self._wire = around.wire
        self._wire_name = short_name(self._wire)
        self._row_bytes = around.parameters * self._wire.itemsize
        self._agree(blocks)
        self._memory = allocate(around, blocks)
        self.blocks: tuple[Tensor, ...] = self._memory.own
        self.notice = self._memory.notice
        self._roles = Roles(self.blocks, name)
        self._all_shared = len(self._memory.sharing) + 1 == self._world.size
        self._chunk = min(around.sizes.chunk, around.parameters)
        self._sum = Sum(gamma, around.dtype, self._wire, self._chunk, self._world.device)
        rows = [dict(zip(self._world.mine, block, strict=True)) for block in self.blocks]
        self._rows = [{agent: split(row, self._chunk) for agent, row in side.items()} for side in rows]
        self._comm = around.comm.Dup()
        self._routes = Routes(around, self._comm, rows, self._memory.sharing, self._chunk)
        self._in_memory: dict[tuple[int, int], Row] = {}
        self._works: dict[tuple[object, ...], Work] = {}
        # Rows inside letters are copied to a GPU anew each time.
        self._keep_works = self._plans.recurring and self._world.device.type == "cpu"
        self._helper = Helper() if around.settings.overlap and not self._all_shared else None
        self._turn = 0
        self._steps: Steps | None = None
        self._sides = (0, 0)
        """The blocks published and filled in the turn under way."""

    @property
    def present(self) -> Tensor:
        """The block returned last; the first one before any turn."""
        return self.blocks[self._roles.present]

    @property
    def draft(self) -> Tensor:
        """Of three blocks, the one beside the present one that no neighbour reads: it may be written, and started."""
        if self._roles.draft is None:
            raise ValueError(f"exchange {self.name!r}: only an exchange with three blocks has a draft")
        return self.blocks[self._roles.draft]

    @property
    def transport(self) -> str:
        """How rows reach this rank's neighbours: shared memory, messages, or both, by where they run."""
        if self._all_shared:
            return "shared memory" if self._memory.sharing else "none, one rank"
        return "shared memory and messages" if self._memory.sharing else "messages"

    @property
    def memory(self) -> int:
        """Bytes that this exchange has allocated for rows and parts of rows; see `mpidl.comm.gossip.sizes`."""
        blocks = room(len(self.blocks) * len(self._world.mine), self._around.parameters, self._around.dtype)
        return blocks + self._routes.memory + self._sum.scratch

    def mix(self, Z: Tensor, t: int) -> Tensor:
        self.start(Z, t)
        return self.finish()

    def start(self, Z: Tensor, t: int) -> None:
        if self._steps is not None:
            raise ValueError(f"exchange {self.name!r}: start() before the turn before was finished")
        published, filled = self._sides = self._roles.turn(Z)
        plan = self._plans.at(t)
        header = Header(
            exchange=self._number,
            turn=self._turn,
            round=t,
            parameters=self._around.parameters,
            dtype=self._wire_name,
            graph=plan.mixing.digest,
            block=published,
        )
        with self._meters.time("packing"):
            route = self._routes.next(plan, published)
            route.start(header)
        self._count(plan, route)
        self._turn += 1
        self._steps = self._complete(plan, route, header, published, filled)
        if self._helper:
            self._helper.give(self._steps)

    def finish(self) -> Tensor:
        if self._steps is None:
            raise ValueError(f"exchange {self.name!r}: finish() without start()")
        steps, self._steps = self._steps, None
        if self._helper is None:
            drive(steps, self._meters)
        else:
            with self._meters.time("waiting"):
                awaited = self._helper.take_back()
            drive(steps, self._meters, awaited)
        self._roles.ended(*self._sides)
        return self.present

    def _complete(self, plan: Plan, route: Route, header: Header, side: int, filled: int) -> Steps:
        """What is to be done up to the end of the turn, and what is to be awaited for it."""
        letters, departures = route.letters, route.departures
        try:
            yield letters.arrived
        except CommunicationError as error:
            raise letters.explain(error, header, self.name) from error
        published = letters.check(header, self.name)
        key = (letters, side, filled, *published.values())
        work = self._works.get(key)
        if work is None:
            work = self._work(plan, route, published, side, filled)
            if self._keep_works:
                self._works[key] = work
        begin, add = self._sum.begin, self._sum.add
        for c in range(-(-self._around.parameters // self._chunk)):
            departures.advance(c)
            for out, own, self_weight, terms in work:
                target = out[c]
                begin(target, own[c], self_weight)
                for row, weight, arriving, leaving in terms:
                    if arriving is not None:
                        yield arriving.awaited(c)
                        arriving.arrive(c)
                    add(target, row[c], weight)
                    if leaving is not None:
                        leaving.release(c)
        yield route.leaving

    def _work(self, plan: Plan, route: Route, published: dict[int, int], side: int, filled: int) -> Work:
        """A neighbour's row is read wherever it is: here, in another rank's memory, in a letter, or as it arrives."""
        here = self._rows[side]
        rows = {**here, **{agent: arrival.row for agent, arrival in route.arrivals.items()}}
        for letter in route.letters.incoming:
            for place, agent in enumerate(letter.agents):
                rows[agent] = split(letter.payload[place].to(self._world.device), self._chunk)
        for link in plan.receives:
            if link.rank in self._memory.sharing:
                for agent in link.agents:
                    rows[agent] = self._remote(link.rank, agent, published[link.rank])
        mixing, mine = plan.mixing, self._world.mine
        uses = [(i, j) for i in mine for j in mixing.neighbours[i] if j in route.arrivals]
        first = {j: i for i, j in reversed(uses)}
        last = {j: i for i, j in uses}
        return [
            (
                self._rows[filled][i],
                here[i],
                mixing.self_weights[i],
                [
                    (
                        rows[j],
                        weight,
                        route.arrivals[j] if first.get(j) == i else None,
                        route.arrivals[j] if last.get(j) == i else None,
                    )
                    for j, weight in zip(mixing.neighbours[i], mixing.weights[i], strict=True)
                ],
            )
            for i in mine
        ]

    def _remote(self, rank: int, agent: int, block: int) -> Row:
        """A row of another rank of this node, in its own memory."""
        if (agent, block) not in self._in_memory:
            place = self._world.placement.of_rank(rank).index(agent)
            self._in_memory[agent, block] = split(self._memory.of(rank)[block][place], self._chunk)
        return self._in_memory[agent, block]

    def _count(self, plan: Plan, route: Route) -> None:
        self._meters.bytes_sent += plan.messages * self._row_bytes
        self._meters.bytes_shared += route.rows_read * self._row_bytes
        self._meters.handed_to_mpi(route.bytes, route.messages)

    def _agree(self, blocks: int) -> None:
        around = self._around
        beliefs = {
            "exchange": f"{self.name!r} (number {self._number})",
            "device": self._world.device.type,
            "agents": str(self._world.agents),
            "parameters": str(around.parameters),
            "dtype": short_name(around.dtype),
            "blocks": str(blocks),
            "settings": str(around.settings),
            "sizes": str(around.sizes),
            "graph": graph_digest(around.topology),
        }
        agree(around.comm, beliefs, self._world.hosts)

    def close(self) -> None:
        """Releases requests and memory; no turn may be under way."""
        if self._helper:
            self._helper.close()
        self._routes.free()
        self._comm.Free()
        self._in_memory.clear()
        self._works.clear()
        self._rows.clear()
        self._memory.close()
