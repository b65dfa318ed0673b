"""The exchange of whole rows between neighbours: blocks per rank, of which one is read while another is written.

In its turn a rank publishes one block (letters to its neighbours say so, rows follow where memory is not shared), and
fills another from its own rows and theirs. Neighbours may have read that other block in the turn before; a letter
from each of them says that they are through.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING

from mpidl.comm.gossip.memory import Stock, allocate
from mpidl.comm.gossip.messages import short_name
from mpidl.comm.gossip.roles import Roles
from mpidl.comm.gossip.sizes import Cargo, scratch_elements
from mpidl.comm.gossip.sums import Sum
from mpidl.comm.gossip.totals import Total, Totals
from mpidl.comm.gossip.turns import Turn, Turns, compare
from mpidl.rows import new_rows, room

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mpidl.comm.gossip.neighbourhood import Neighbourhood
    from mpidl.comm.gossip.overlap import Waits


class RowExchange:
    """Z + γ(WZ − Z) for one named quantity; see `mpidl.comm.gossip.schemes.base.Exchange` for how it is used."""

    def __init__(
        self,
        neighbourhood: Neighbourhood,
        name: str,
        parameters: int,
        dtype: torch.dtype,
        gamma: float,
        blocks: int = 2,
        readable: bool = False,
    ) -> None:
        """`readable`: whether neighbours' rows are kept whole, to be read by themselves. A collective call."""
        self.name, self._world, self._dtype = name, neighbourhood.world, dtype
        self._wire = neighbourhood.settings.wire_dtype(dtype)
        cargo = Cargo(parameters, self._wire, whole=readable)
        compare(neighbourhood, name, cargo, dtype=short_name(dtype), blocks=blocks, gamma=gamma)
        self._memory = allocate(neighbourhood, len(self._world.mine), parameters, dtype, blocks)
        self.blocks: tuple[Tensor, ...] = self._memory.own
        self.warning = self._memory.warning
        self._roles = Roles(self.blocks, name)
        placement = self._world.placement
        self._stock = Stock(
            self._memory, self._world.rank, neighbourhood.plans.recurring, lambda plan, rank: placement.of_rank(rank)
        )
        self._turns = Turns(neighbourhood, name, neighbourhood.plans, cargo, self._stock)
        together = len(self._world.mine) if self._turns.inside else 1
        chunk = neighbourhood.sizes.at_once(together, parameters)
        self._chunks = -(-parameters // chunk)
        scratch = scratch_elements(together, parameters, self._wire != dtype, neighbourhood.sizes)
        self._sum = Sum(gamma, dtype, self._wire, scratch, self._world.device)
        self._totals = Totals(neighbourhood, self._stock, self._sum, chunk, self._turns.inside)
        self._recurring = neighbourhood.plans.recurring
        self._kept: dict[tuple[object, ...], list[Total]] = {}
        self._readable = readable
        self._seen: dict[int, Tensor] = {}
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
        known = turn.plan.mixing.neighbours[agent]
        rows = {j: self._turns.received(turn, j, owner(j)) for j in known}
        if self._wire == self._dtype or not rows:
            return rows
        # As receivers see them, rounded, whether they travelled or lay here.
        if len(self._seen.get(agent, ())) < len(known):
            self._seen[agent] = new_rows((len(known), self.blocks[0].shape[1]), self._dtype, self._world.device)
        wide = zip(self._seen[agent], rows.items(), strict=False)
        return {j: seen.copy_(row.to(self._wire)) for seen, (j, row) in wide}

    def _add(self, turn: Turn) -> Waits:
        """Fills the other block, chunk by chunk."""
        route, filled = turn.route, self._roles.filled
        departures, key = route.departures, (route.letters, turn.side, filled, *turn.published.values())
        totals = self._kept.get(key)
        if totals is None:
            totals = self._totals.of(turn, filled)
            if self._recurring:
                self._kept[key] = totals
        begin, add = self._sum.begin, self._sum.add
        first = perf_counter()
        for c in range(self._chunks):
            departures.advance(c)
            for total in totals:
                begin(total.out[c], total.own[c], total.weights)
                for out, rows, weights, places, arriving, leaving in total.additions:
                    if arriving is not None:
                        yield arriving.awaited(c)
                        arriving.arrive(c)
                    add(out[c], rows[c], weights, places)
                    if leaving is not None:
                        leaving.release(c)
            if c == 0:
                first = perf_counter()
        if self._turns.saw(route, perf_counter() - first):
            self._kept.clear()

    def abandon(self) -> None:
        """Ends its thread, if it has one, and nothing else."""
        self._turns.abandon()

    def close(self) -> None:
        """Releases requests and memory; no turn may be under way."""
        self._turns.close()
        self._kept.clear()
        self._memory.close()
