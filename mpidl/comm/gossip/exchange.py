"""The exchange of whole rows between neighbours: blocks per rank, of which one is read while another is written.

In its turn a rank publishes one block (letters to its neighbours say so, rows follow where memory is not shared), and
fills another from its own rows and theirs. Neighbours may have read that other block in the turn before; a letter
from each of them says that they are through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mpidl.comm.gossip.blocks import Received, Roles, Stock
from mpidl.comm.gossip.memory import allocate
from mpidl.comm.gossip.messages import short_name
from mpidl.comm.gossip.sizes import Cargo
from mpidl.comm.gossip.sums import Row, Sum, split
from mpidl.comm.gossip.turns import Turn, Turns, compare
from mpidl.rows import room

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mpidl.comm.gossip.neighbourhood import Neighbourhood
    from mpidl.comm.gossip.overlap import Steps
    from mpidl.comm.gossip.plan import Item, Plan
    from mpidl.comm.gossip.streams import Arrival


Term = tuple[Row, float, "Arrival | None", "Arrival | None"]
"""A neighbour's row and weight; if the row arrives, what to wait for at its first use and to release after its last."""
Work = list[tuple[Row, Row, float, list[Term]]]
"""For each agent of this rank: where its mixed row goes, its own row and weight, and its neighbours."""


class RowExchange:
    """Z + γ(WZ − Z) for one named quantity; see `mpidl.comm.gossip.schemes.base.Exchange` for how it is used."""

    def __init__(
        self,
        around: Neighbourhood,
        name: str,
        parameters: int,
        dtype: torch.dtype,
        gamma: float,
        blocks: int = 2,
        readable: bool = False,
    ) -> None:
        """`readable`: whether neighbours' rows are kept whole, to be read by themselves. A collective call."""
        self.name, self._world, self._dtype = name, around.world, dtype
        self._wire = around.settings.wire_dtype(dtype)
        cargo = Cargo(parameters, self._wire, whole=readable)
        compare(around, name, cargo, dtype=short_name(dtype), blocks=blocks, gamma=gamma)
        self._memory = allocate(around, len(self._world.mine), parameters, dtype, blocks)
        self.blocks: tuple[Tensor, ...] = self._memory.own
        self.notice = self._memory.notice
        self._roles = Roles(self.blocks, name)
        placement = self._world.placement
        self._stock = Stock(
            self._memory, self._world.rank, around.plans.recurring, lambda plan, rank: placement.of_rank(rank)
        )
        self._turns = Turns(around, name, around.plans, cargo, self._stock)
        self._chunk = self._turns.chunk
        self._chunks = -(-parameters // self._chunk)
        self._sum = Sum(gamma, dtype, self._wire, self._chunk, self._world.device)
        self._rows: list[dict[Item, Row]] = [
            {agent: split(row, self._chunk) for agent, row in zip(self._world.mine, block, strict=True)}
            for block in self.blocks
        ]
        self._in_memory: dict[tuple[Item, int], Row] = {}
        self._works: dict[tuple[object, ...], Work] = {}
        # Rows inside letters are copied to a GPU anew each time.
        self._keep_works = around.plans.recurring and self._world.device.type == "cpu"
        self._readable = readable
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
        """How rows reach this rank's neighbours, in words."""
        return self._turns.transport

    @property
    def memory(self) -> int:
        """Bytes that this exchange has allocated for rows and parts of rows; see `mpidl.comm.gossip.sizes`."""
        blocks = room(len(self.blocks) * len(self._world.mine), self.blocks[0].shape[1], self._dtype)
        return blocks + self._turns.memory + self._sum.scratch

    def mix(self, Z: Tensor, t: int) -> Tensor:
        self.start(Z, t)
        return self.finish()

    def start(self, Z: Tensor, t: int) -> None:
        published, filled = self._roles.turn(Z)
        self._turns.start(published, t, self._add)
        self._sides = (published, filled)

    def finish(self) -> Tensor:
        self._turns.finish()
        self._roles.ended(*self._sides)
        return self.present

    def neighbours(self, agent: int) -> Mapping[int, Tensor]:
        """The rows of an agent's neighbours as they came in the last turn, by agent; until the next turn begins."""
        if not self._readable:
            raise ValueError(f"exchange {self.name!r}: it was not made for reading neighbours' rows")
        turn, owner = self._turns.last, self._world.placement.owner

        def row(neighbour: int) -> Tensor:
            return self._turns.received(turn, neighbour, owner(neighbour))

        return Received(turn.plan.mixing.neighbours[agent], row, self._wire, self._dtype)

    def _add(self, turn: Turn) -> Steps:
        """Fills the other block, chunk by chunk."""
        departures, filled = turn.route.departures, self._roles.turn(self.blocks[turn.side])[1]
        key = (turn.route.letters, turn.side, filled, *turn.published.values())
        work = self._works.get(key)
        if work is None:
            work = self._work(turn, filled)
            if self._keep_works:
                self._works[key] = work
        begin, add = self._sum.begin, self._sum.add
        for c in range(self._chunks):
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

    def _work(self, turn: Turn, filled: int) -> Work:
        """A neighbour's row is read wherever it is: here, in another rank's memory, in a letter, or as it arrives."""
        plan, route, side = turn.plan, turn.route, turn.side
        here = self._rows[side]
        rows: dict[Item, Row] = {**here, **{agent: arrival.row for agent, arrival in route.arrivals.items()}}
        for letter in route.letters.incoming:
            for place, agent in enumerate(letter.items):
                rows[agent] = split(letter.payload[place].to(self._world.device), self._chunk)
        for link in plan.receives:
            if link.rank in self._memory.sharing:
                for agent in link.items:
                    rows[agent] = self._remote(plan, link.rank, agent, turn.published[link.rank])
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

    def _remote(self, plan: Plan, rank: int, agent: Item, block: int) -> Row:
        """A row of another rank of this node, in its own memory."""
        if (agent, block) not in self._in_memory:
            self._in_memory[agent, block] = split(self._stock.shared(plan, rank, agent, block), self._chunk)
        return self._in_memory[agent, block]

    def close(self) -> None:
        """Releases requests and memory; no turn may be under way."""
        self._turns.close()
        self._in_memory.clear()
        self._works.clear()
        self._rows.clear()
        self._memory.close()
