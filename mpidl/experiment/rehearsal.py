"""What a run will need, told before it starts by a rehearsal without ranks and without memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mpidl.algorithms.base import EdgeExchange, Rows
from mpidl.comm.gossip.plan import Plans
from mpidl.comm.gossip.settings import GossipSettings
from mpidl.comm.gossip.sizes import Sizes, exchange_bytes
from mpidl.comm.placement import Placement
from mpidl.comm.tree import rows_held
from mpidl.errors import ConfigError, MpidlError
from mpidl.experiment.context import Links, NoExchanges, make_algorithm
from mpidl.experiment.inputs import Inputs
from mpidl.experiment.schema import Config, build_topology
from mpidl.graphs.base import Topology
from mpidl.parameters import RowModule
from mpidl.rows import room
from mpidl.state import State


@dataclass(frozen=True)
class Needs:
    """What a run needs, in bytes: all rows of the fullest rank; rows on their way to it; a round."""

    ranks: int
    agents: int
    parameters: int
    state_bytes: int
    transit_bytes: int
    """By messages between neighbours, or in a sum over agents."""
    round_bytes: float
    neighbours: bool
    """Whether agents exchange rows with neighbours; else with a server, by sums over all."""


class NoGradients:
    """An oracle for rows without numbers: there is nothing to write."""

    def __call__(self, agents: Sequence[int], rows: Rows, steps: Sequence[int], out: Rows) -> None: ...

    def whole(self, agent: int, row: Tensor, out: Tensor) -> None: ...

    def hessian_product(self, agent: int, row: Tensor, step: int, vector: Tensor, out: Tensor) -> None: ...


class NoSums:
    """Sums of rows without numbers."""

    def sum(
        self, leaves: Iterable[tuple[int, Tensor]], positions: int, owners: Sequence[int], *, rows: int | None = None
    ) -> Tensor:
        return torch.empty_like(next(iter(leaves))[1])


@dataclass(frozen=True)
class FirstRank:
    """Rank 0 of so many, with no other there to move anything from or to; it has as many agents as any."""

    size: int
    rank: int = 0

    def move(self, moves: Sequence[tuple[int, int, int]]) -> None: ...


class NoNeighbours:
    """The exchanges of a graph without anybody to exchange with: their memory, and what they would send."""

    def __init__(self, state: State, topology: Topology, placement: Placement, settings: GossipSettings) -> None:
        self._state, self._topology, self._placement, self._settings = state, topology, placement, settings
        self.transit_bytes = 0

    @property
    def gamma(self) -> float:
        return self._settings.scheme.gamma

    def exchange(self, name: str, blocks: int = 2, neighbours: bool = False) -> RehearsedExchange:
        state, placement = self._state, self._placement
        wire = self._settings.wire_dtype(state.dtype)
        plans = Plans(self._topology, placement, 0)
        met = {id(plan): plan for plan in map(plans.at, self._topology.rounds(limit=100))}.values()
        # Requests and letters of graphs that come back are kept, those of a graph drawn anew live for a round.
        kept = [list(met)] if self._topology.period else [[plan] for plan in met]
        own, size = len(placement.of_rank(0)), state.parameters
        needs = (exchange_bytes(together, own, size, state.dtype, wire, Sizes()) for together in kept)
        self.transit_bytes += max(needs) - room(2 * own, size, state.dtype)
        return RehearsedExchange(state, blocks)

    def edges(self, name: str) -> EdgeExchange:
        raise ConfigError(f"{name!r}", "algorithm")

    @property
    def edges_per_round(self) -> float:
        mixings = [self._topology.at(t) for t in self._topology.rounds(limit=100)]
        return sum(mixing.messages for mixing in mixings) / len(mixings)


class RehearsedExchange:
    """The blocks of an exchange."""

    def __init__(self, state: State, blocks: int) -> None:
        shape = (len(state.agents), state.parameters)
        # One of the blocks is declared by the algorithm, as the state that lives in it.
        self.present = torch.empty(shape, dtype=state.dtype, device=state.device)
        self.blocks = (self.present, *(state.scratch(*shape) for _ in range(blocks - 1)))
        self.draft = self.blocks[-1]

    def start(self, Z: Tensor, t: int) -> None: ...

    def finish(self) -> Tensor:
        return self.blocks[1]

    def neighbours(self, agent: int) -> Mapping[int, Tensor]:
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


def rehearse(config: Config, ranks: int) -> Needs:
    """The needs of this configuration on so many ranks."""
    inputs = Inputs.read(config, ranks)
    agents, dtype, rows = inputs.agents, inputs.precision.rows, prepare(inputs)
    placement = Placement.contiguous(agents, ranks)
    state = State(placement.of_rank(0), agents, rows.size, dtype, "meta")
    per_agent = config.graph is not None
    for name, size, kind in (
        ("float buffers", rows.float_buffers, dtype),
        ("integer buffers", rows.integer_buffers, torch.int64),
    ):
        (state.buffers if per_agent else state.shared)(name, size, kind)
    state.number("examples drawn")
    topology = build_topology(config, agents) if per_agent else None
    gossip = config.gossip or GossipSettings()
    exchanges = NoNeighbours(state, topology, placement, gossip) if topology else None
    initial = rows.flatten().to("meta").expand(len(placement.of_rank(0)), -1)
    links = Links(
        oracle=NoGradients(),
        exchanges=exchanges or NoExchanges(),
        topology=topology,
        reduction=NoSums(),
        measuring=NoSums(),
        ranks=FirstRank(ranks),
        count_bytes=lambda sent: None,
    )
    make_algorithm(inputs, placement, rows.layout, state, initial, links)
    row_bytes = rows.size * dtype.itemsize
    if exchanges is None:
        transit = math.ceil(rows_held(placement.owners, ranks) * row_bytes)
        sent = config.method.rows_sent(config.algorithm, agents, 0) * row_bytes
    else:
        transit = exchanges.transit_bytes
        rows_sent = config.method.rows_sent(config.algorithm, agents, exchanges.edges_per_round)
        sent = rows_sent * rows.size * gossip.wire_dtype(dtype).itemsize
    return Needs(ranks, agents, rows.size, state.bytes(), transit, sent, exchanges is not None)
