"""What a run will need, told before it starts by a rehearsal without ranks and without memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mpidl.algorithms.base import Rows
from mpidl.algorithms.federated.base import Federated
from mpidl.comm.gossip.exchanges import Exchanges
from mpidl.comm.gossip.plan import Plan, PlanMaker, Plans, make_edge_plan, make_plan
from mpidl.comm.gossip.settings import GossipSettings
from mpidl.comm.gossip.sizes import Cargo, Sizes, exchange_bytes, parcels_bytes
from mpidl.comm.meters import Meters
from mpidl.comm.placement import Placement
from mpidl.comm.tree import rows_held, rows_held_of_any
from mpidl.errors import MpidlError
from mpidl.experiment.context import Links, NoExchanges, make_algorithm
from mpidl.experiment.inputs import Inputs
from mpidl.experiment.keeping import kept_bytes
from mpidl.experiment.schema import Config, build_topology
from mpidl.graphs.base import Topology
from mpidl.layout import Layout, Network
from mpidl.parameters import RowModule
from mpidl.rows import room
from mpidl.spill import Spill
from mpidl.state import State
from mpidl.training.record import Sums


@dataclass(frozen=True)
class Needs:
    """What a run needs, in bytes: all rows of the fullest rank; rows on their way to it; a round."""

    ranks: int
    agents: int
    parameters: int
    state_bytes: int
    spilled_bytes: int
    """Of agents' state beyond its budget, in a file."""
    transit_bytes: int
    """By messages between neighbours, or in a sum over agents."""
    rounds: int
    round_bytes: float
    run_bytes: int
    """Of a round, on average, and of all rounds together; of a graph that is drawn, as its first 100 rounds are."""
    neighbours: bool
    """Whether agents exchange rows with neighbours; else with a server, by sums over all."""
    kept_bytes: int
    """Of the models that the run file has at the end."""
    copied_bytes: int
    """Of copies of a rank's state: one that a checkpoint is written from while training goes on, and, where others go
    on when a rank dies and keep copies for that, two of its own, and unless its agents are dropped two of another's."""


class NoGradients:
    """An oracle for rows without numbers: there is nothing to write."""

    def __call__(self, agents: Sequence[int], rows: Rows, steps: Sequence[int], out: Rows) -> None: ...

    def whole(self, agent: int, row: Tensor, out: Tensor) -> None: ...

    def hessian_product(self, agent: int, row: Tensor, step: int, vector: Tensor, out: Tensor) -> None: ...


class NoSums:
    """Sums of rows without numbers."""

    def __init__(self, parameters: int, dtype: torch.dtype) -> None:
        self._row = torch.empty(parameters, dtype=dtype, device="meta")
        self._at_once: set[int] = set()

    @property
    def rows(self) -> int:
        """Rows of an agent in all sums together: those of one row and of two each have memory of their own."""
        return sum(self._at_once) or 1

    def memory(self, rows: int | None = None) -> Tensor:
        self._at_once.add(rows or 1)
        return self._row if rows is None else self._row.repeat(rows, 1)

    def sum(
        self,
        leaves: Iterable[tuple[int, Tensor]],
        positions: int,
        owners: Sequence[int],
        out: Tensor | None = None,
        rows: int | None = None,
    ) -> Tensor:
        return torch.empty_like(next(iter(leaves))[1])


@dataclass(frozen=True)
class FirstRank:
    """Rank 0 of so many, with no other there to move anything from or to; it has as many agents as any."""

    size: int
    rank: int = 0

    def move(self, moves: Sequence[tuple[int, int, int]]) -> None: ...


class NoNeighbours(Exchanges):
    """The exchanges of a graph without anybody to exchange with: their memory, and what they would send."""

    def __init__(
        self, topology: Topology, settings: GossipSettings, state: State, layout: Layout, placement: Placement
    ) -> None:
        super().__init__(topology, settings, state, layout, 0, Meters())
        self._placement = placement
        self.transit_bytes = 0
        self.row_bytes: dict[str, int] = {}
        """By quantity, what a row of it is on the wire."""

    def rows(self, name: str, gamma: float, blocks: int, readable: bool) -> NoRows:
        state, agents = self.state, len(self.state.agents)
        cargo = Cargo(state.parameters, self.settings.wire_dtype(state.dtype), whole=readable)
        needs = (exchange_bytes(met, agents, state.dtype, cargo, Sizes()) for met in self._kept(make_plan))
        self.transit_bytes += max(needs) - room(2 * agents, state.parameters, state.dtype)
        self.row_bytes[name] = cargo.row_bytes
        return NoRows(state, blocks)

    def _carrier(self, name: str, cargo: Cargo) -> NoParcels:
        return self._parcels(name, cargo, make_plan)

    def _edge_carrier(self, name: str, cargo: Cargo) -> NoParcels:
        return self._parcels(name, cargo, make_edge_plan)

    def _parcels(self, name: str, cargo: Cargo, make: PlanMaker) -> NoParcels:
        """Of their memory what is on its way: who asks for them counts the blocks that rows leave from."""
        self.transit_bytes += max(parcels_bytes(met, 0, cargo, Sizes()) for met in self._kept(make))
        self.row_bytes[name] = cargo.row_bytes
        return NoParcels()

    def edges_per_round(self, rounds: int | None = None) -> float:
        """Rows sent in a round of the graph, on average: of all that it does, or of so many rounds from the first."""
        edges = [self.topology.at(t).messages for t in self.topology.rounds(limit=min(100, rounds or 100))]
        if rounds is None:
            return sum(edges) / len(edges)
        turns, more = divmod(rounds, len(edges))
        return (turns * sum(edges) + sum(edges[:more])) / rounds

    def _kept(self, make: PlanMaker) -> list[list[Plan]]:
        """Plans whose letters are there at one time: all of a graph that repeats, each by itself of one drawn anew."""
        met = Plans(self.topology, self._placement, 0, make).all(limit=100)
        return [met] if self.topology.period else [[plan] for plan in met]


class NoRows:
    """The blocks of an exchange of whole rows."""

    def __init__(self, state: State, blocks: int) -> None:
        shape = (blocks, len(state.agents), state.parameters)
        self.blocks = torch.empty(shape, dtype=state.dtype, device=state.device).unbind()
        self.present, self.draft = self.blocks[0], self.blocks[-1]

    def start(self, Z: Tensor, t: int) -> None: ...

    def finish(self) -> Tensor:
        return self.blocks[1]

    def mix(self, Z: Tensor, t: int) -> Tensor:
        return self.finish()

    def neighbours(self, agent: int) -> Mapping[int, Tensor]:
        return {}


class NoParcels:
    """What would carry rows, without any."""

    def outgoing(self, t: int) -> dict[Any, Tensor]:
        return {}

    def start(self, t: int) -> None: ...

    def finish(self) -> dict[Any, Tensor]:
        return {}


def prepare(inputs: Inputs) -> RowModule:
    """The network, once it is seen that it can be built and fits the data."""
    if inputs.weights is None:
        try:
            with torch.device("meta"):
                return RowModule(inputs.network())
        except (RuntimeError, MpidlError):
            # A module that looks at its numbers cannot be built without memory; if it is wrong, it will be so again.
            pass
    return RowModule(inputs.network())


def rehearse(config: Config, ranks: int, inputs: Inputs | None = None) -> Needs:
    """The needs of this configuration on so many ranks; `inputs`: what it reads, where that has been read."""
    inputs = inputs or Inputs.read(config, ranks)
    agents, dtype, rows = inputs.agents, inputs.precision.rows, prepare(inputs)
    placement = Placement.contiguous(agents, ranks)
    budget = config.train.state_memory
    spill = None if budget is None else Spill(budget, Path())
    state = State(placement.of_rank(0), agents, rows.size, dtype, "meta", spill)
    per_agent = config.graph is not None
    for name, size, kind in (
        ("float buffers", rows.float_buffers, dtype),
        ("integer buffers", rows.integer_buffers, torch.int64),
    ):
        (state.buffers if per_agent else state.shared)(name, size, kind)
    Sums(state)
    topology = build_topology(config, agents) if per_agent else None
    gossip = config.gossip or GossipSettings()
    exchanges = NoNeighbours(topology, gossip, state, rows.layout, placement) if topology else None
    initial = rows.flatten().to("meta").expand(len(placement.of_rank(0)), -1)
    sums = NoSums(rows.size, dtype)
    links = Links(
        oracle=NoGradients(),
        exchanges=exchanges or NoExchanges(),
        topology=topology,
        reduction=sums,
        measuring=sums,
        ranks=FirstRank(ranks),
        count_bytes=lambda sent: None,
    )
    algorithm = make_algorithm(inputs, placement, rows.layout, state, initial, links)
    row_bytes = rows.size * dtype.itemsize
    if exchanges is None:
        by_quantity = algorithm.packed_bytes()
        everyone = not isinstance(algorithm, Federated) or algorithm.expected() == agents
        # Who is drawn decides where the runs of ranks begin.
        held = rows_held(placement.owners, ranks) if everyone else rows_held_of_any(agents, ranks)
        transit = math.ceil(held * sums.rows * row_bytes)
    else:
        by_quantity = exchanges.row_bytes
        transit = exchanges.transit_bytes

    def sent(rounds: int | None) -> float:
        """Bytes of a round, on average over so many."""
        edges = 0.0 if exchanges is None else exchanges.edges_per_round(rounds)
        rows_sent = config.method.rows_sent(config.algorithm, agents, edges)
        return sum(count * by_quantity.get(name, row_bytes) for name, count in rows_sent.items())

    rounds = inputs.length.rounds
    of_bytes = (rounds, sent(None), round(rounds * sent(rounds)))
    network = Network(rows.entries, inputs.dataset.example_shape, inputs.dataset.outputs)
    in_memory = (state.bytes(), state.spilled_bytes(), transit)
    kept = kept_bytes(inputs, network)
    copies = int(config.checkpoint.every is not None and spill is None)
    if ranks > 1 and config.failures.dropping:
        copies += 2
    elif ranks > 1 and config.checkpoint.memory is not None:
        copies += 4
    copied = copies * state.saved_bytes()
    return Needs(ranks, agents, rows.size, *in_memory, *of_bytes, exchanges is not None, kept, copied)
