"""What one rank adds up in a turn, as views of rows wherever they are.

That is in its own memory, in that of other ranks of its node, in letters, or where chunks arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from mpidl.comm.gossip.runs import RowRun, StridedRows, Summand, schedule
from mpidl.comm.gossip.sums import Chunks, Sum, split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from mpidl.comm.gossip.memory import Stock
    from mpidl.comm.gossip.neighbourhood import Neighbourhood
    from mpidl.comm.gossip.plan import Item, Plan
    from mpidl.comm.gossip.routes import Route
    from mpidl.comm.gossip.streams import Arrival
    from mpidl.comm.gossip.turns import Turn


class Addition(NamedTuple):
    """Rows that are added to others, one to each."""

    out: Chunks
    rows: Chunks
    weights: Tensor
    places: Tensor | None = None
    """Which of `rows`, where they are not all, or not in this order."""
    arriving: Arrival | None = None
    """What to wait for, where the row arrives and is used for the first time."""
    leaving: Arrival | None = None
    """What to release, where the row arrives and is used for the last time."""


class Total(NamedTuple):
    """Mixed rows: where they go, the rows that they begin with, and what is added."""

    out: Chunks
    own: Chunks
    weights: Tensor
    additions: list[Addition]


class Totals:
    """The totals of an exchange, turn after turn.

    Small rows are summed for all agents of this rank at once, and large ones agent by agent, so that what is summed
    stays in a cache; both chunk by chunk, and with the same roundings.
    """

    def __init__(self, neighbourhood: Neighbourhood, stock: Stock, sums: Sum, chunk: int, together: bool) -> None:
        """`chunk`: elements of a row that are summed at a time; `together`: whether rows are small."""
        self._world, self._recurring, self._stock = neighbourhood.world, neighbourhood.plans.recurring, stock
        self._sums, self._chunk, self._together = sums, chunk, together
        self._runs: dict[Plan, list[RowRun]] = {}

    def of(self, turn: Turn, filled: int) -> list[Total]:
        """What is added up in this turn, into block `filled`."""
        plan, route, memory = turn.plan, turn.route, self._stock.memory
        out, own = memory.own[filled], memory.own[turn.side]
        homes = {self._world.rank: own}
        homes |= {letter.rank: letter.here for letter in route.letters.incoming if letter.items}
        homes |= {rank: memory.of(rank)[turn.published[rank]] for rank in plan.sources & memory.sharing}
        if self._together:
            return [self._all(plan, homes, out, own)]
        return self._each(plan, homes, route, out, own)

    def _all(self, plan: Plan, homes: Mapping[int, Tensor], out: Tensor, own: Tensor) -> Total:
        runs = self._runs.get(plan)
        if runs is None:
            runs = schedule(self._summands(plan), self._chunk, self._recurring)
            if self._recurring:
                self._runs[plan] = runs
        return Total(
            out=split(out, self._chunk),
            own=split(own, self._chunk),
            weights=self._sums.own_weights(plan.mixing.self_weights[i] for i in self._world.mine),
            additions=[self._addition(run, out, homes[run.home]) for run in runs],
        )

    def _addition(self, run: RowRun, out: Tensor, home: Tensor) -> Addition:
        targets, rows, places = run.targets.of(out), home, None
        if isinstance(run.sources, StridedRows):
            rows = run.sources.of(home)
        else:
            places = torch.tensor(run.sources, device=home.device)
        weights = self._sums.weights(run.weights).view(*targets.shape[:-1], 1)
        return Addition(split(targets, self._chunk), split(rows, self._chunk), weights, places)

    def _each(self, plan: Plan, homes: Mapping[int, Tensor], route: Route, out: Tensor, own: Tensor) -> list[Total]:
        mixing, mine, arrivals, landed = plan.mixing, self._world.mine, route.arrivals, route.everything is not None
        uses = [(i, j) for i in mine for j in mixing.neighbours[i] if j in arrivals and not landed]
        first = {j: i for i, j in reversed(uses)}
        last = {j: i for i, j in uses}
        rows: dict[Item, Chunks] = {
            j: arrivals[j].row if j in arrivals else split(homes[home][place], self._chunk)
            for j, (home, place) in self._homes(plan).items()
        }
        own_weights = self._sums.own_weights(mixing.self_weights[i] for i in mine)
        totals = []
        for place, i in enumerate(mine):
            target, weights = split(out[place], self._chunk), self._sums.weights(mixing.weights[i])
            additions = [
                Addition(
                    target,
                    rows[j],
                    weight,
                    arriving=arrivals[j] if first.get(j) == i else None,
                    leaving=arrivals[j] if last.get(j) == i else None,
                )
                for j, weight in zip(mixing.neighbours[i], weights, strict=True)
            ]
            totals.append(Total(target, rows[i], own_weights[place], additions))
        return totals

    def _summands(self, plan: Plan) -> list[Summand]:
        homes, mixing = self._homes(plan), plan.mixing
        return [
            Summand(place, order, j - i, *homes[j], weight)
            for place, i in enumerate(self._world.mine)
            for order, (j, weight) in enumerate(zip(mixing.neighbours[i], mixing.weights[i], strict=True))
        ]

    def _homes(self, plan: Plan) -> dict[Item, tuple[int, int]]:
        """By agent, the rank that its row comes from, and its place there, in that rank's memory or letter."""
        homes: dict[Item, tuple[int, int]] = {i: (self._world.rank, place) for place, i in enumerate(self._world.mine)}
        for link in plan.receives:
            if link.rank in self._stock.memory.sharing:
                places = self._stock.places(plan, link.rank)
                homes |= {agent: (link.rank, places[agent]) for agent in link.items}
            else:
                homes |= {agent: (link.rank, place) for place, agent in enumerate(link.items)}
        return homes
