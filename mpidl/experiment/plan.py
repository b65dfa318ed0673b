"""What a run will need, told before it starts: memory of a rank and bytes of a round, by a rehearsal without memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from mpidl.algorithms.base import Surroundings
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.comm.gossip.plan import Plans
from mpidl.comm.gossip.settings import GossipSettings
from mpidl.comm.gossip.sizes import Sizes, exchange_bytes
from mpidl.comm.placement import Placement
from mpidl.comm.tree import rows_held
from mpidl.errors import MpidlError
from mpidl.experiment.schema import Config, build_topology
from mpidl.experiment.weights import initial_weights
from mpidl.models.initial import initial_module
from mpidl.parameters import RowModule
from mpidl.rows import room
from mpidl.state import State
from mpidl.training.precision import Precision


@dataclass(frozen=True)
class Plan:
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


class _NoExchange:
    """Memory of an exchange, without the exchange."""

    def __init__(self, state: State) -> None:
        shape = (len(state.agents), state.parameters)
        # One of the two blocks is declared by the algorithm, as the state that lives in it.
        self.blocks = (torch.empty(shape, dtype=state.dtype, device=state.device), state.scratch(*shape))


def prepare(config: Config, ranks: int) -> RowModule:
    """The network, once data, split, model and initial weights are seen to be there and to fit each other."""
    agents = ranks if config.agents == "auto" else config.agents
    dataset = config.data.load()
    config.model.check_task(dataset.task)
    config.data.deal(dataset, agents, config.seed)
    dtype = Precision.named(config.train.precision).rows

    weights = initial_weights(config.model.initial_file)

    def build() -> nn.Module:
        shape = dataset.example_shape
        return initial_module(config.model, shape, dataset.outputs, config.seed, dtype=dtype, weights=weights)

    if config.model.initial_file is None:
        try:
            with torch.device("meta"):
                return RowModule(build())
        except (RuntimeError, MpidlError):
            # A module that looks at its numbers cannot be built without memory; if it is wrong, it will be so again.
            pass
    return RowModule(build())


def plan(config: Config, ranks: int) -> Plan:
    """The needs of this configuration on so many ranks."""
    agents = ranks if config.agents == "auto" else config.agents
    placement = Placement.contiguous(agents, ranks)
    dtype = Precision.named(config.train.precision).rows
    rows = prepare(config, ranks)
    state = State(placement.of_rank(0), agents, rows.size, dtype, "meta")
    state.buffers("float buffers", rows.float_buffers, dtype)
    state.buffers("integer buffers", rows.integer_buffers, torch.int64)
    config.method(
        config.algorithm,
        Surroundings(
            agents=placement.of_rank(0),
            owners=placement.owners,
            sizes=(1,) * agents,
            state=state,
            oracle=None,
            exchange=lambda name: _NoExchange(state),
            reduction=None,
            measuring=None,
            factor=lambda t: 1.0,
            initial=rows.flatten().to("meta").expand(len(placement.of_rank(0)), -1),
            count_bytes=None,
        ),
    )
    row_bytes = rows.size * dtype.itemsize
    neighbours = issubclass(config.method, Decentralized)
    wire_bytes, edges, transit = row_bytes, 0.0, 0
    if neighbours:
        gossip = config.gossip or GossipSettings()
        wire = gossip.wire_dtype(dtype)
        topology = build_topology(config, agents)
        mixings = [topology.at(t) for t in topology.rounds(limit=100)]
        edges = sum(mixing.messages for mixing in mixings) / len(mixings)
        wire_bytes = rows.size * wire.itemsize
        plans = Plans(topology, placement, 0)
        met = {id(plan): plan for plan in map(plans.at, topology.rounds(limit=100))}.values()
        # Requests and letters of graphs that come back are kept, those of a graph drawn anew live for a round.
        kept = [list(met)] if topology.period else [[plan] for plan in met]
        own = len(placement.of_rank(0))
        needs = (exchange_bytes(together, own, rows.size, dtype, wire, Sizes()) for together in kept)
        transit = len(config.method.mixed) * (max(needs) - room(2 * own, rows.size, dtype))
    else:
        transit = math.ceil(rows_held(placement.owners, ranks) * row_bytes)
    sent = config.method.rows_sent(agents, edges) * wire_bytes
    return Plan(ranks, agents, rows.size, state.bytes(), transit, sent, neighbours)
