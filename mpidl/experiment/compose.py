"""From a configuration to a run that is ready to go, on one rank of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.comm.gossip.gossip import Gossip
from mpidl.comm.gossip.neighbourhood import Neighbourhood
from mpidl.comm.gossip.settings import GossipSettings
from mpidl.comm.meters import Meters
from mpidl.comm.moves import Movers
from mpidl.comm.once import load_once
from mpidl.comm.placement import Placement
from mpidl.comm.reduce import Reducer
from mpidl.comm.world import Communicator, World
from mpidl.data.batches import Batches, EvaluationPart, Storage
from mpidl.data.dataset import Dataset
from mpidl.experiment.agreement import agree_on_data, agree_on_run, agree_on_shares, agree_on_start
from mpidl.experiment.context import Links, NoExchanges, make_algorithm, movable
from mpidl.experiment.inputs import Inputs, Length
from mpidl.experiment.requirements import require_compiler, require_main_memory
from mpidl.experiment.schema import Config, build_topology
from mpidl.graphs.base import Topology
from mpidl.graphs.left import require_left, without
from mpidl.layout import Network
from mpidl.models.losses import per_example_loss
from mpidl.parameters import RowModule
from mpidl.results.snapshots import Form
from mpidl.spill import Spill
from mpidl.state import State
from mpidl.training.batched import BatchedGradients
from mpidl.training.buddies import useless
from mpidl.training.evaluate import Evaluator
from mpidl.training.forecast import Forecast
from mpidl.training.gradients import Gradients
from mpidl.training.heterogeneity import Heterogeneity
from mpidl.training.learner import Learner
from mpidl.training.loop import Hook, Training
from mpidl.training.observations import Observations
from mpidl.training.precision import set_arithmetic
from mpidl.training.record import Cadence, Recorder, Sums
from mpidl.training.snapshots import ModelRows
from mpidl.training.statistics import OwnStatistics, ServerStatistics, Statistics
from mpidl.training.watch import DivergenceWatch, NetworkCheck


@dataclass
class ComposedRun:
    """The parts of a composed run that its callers need."""

    config: Config
    length: Length
    world: World
    training: Training
    rows: RowModule
    state: State
    topology: Topology | None
    meters: Meters
    gossip: Gossip | None
    batches: Batches
    warnings: tuple[str, ...]
    """What a person should know of the data, their split, the devices, and how rows travel."""
    transports: dict[str, str]
    """By quantity that neighbours exchange, how; without neighbours, how sums over agents are made."""
    forecast: Forecast
    models: ModelRows
    data: Mapping[str, str]
    """What tells these data, and their split, from others."""
    plug_ins: Mapping[str, str]
    """What tells the files of plug-ins from what they were."""
    dataset: Dataset

    def abandon(self) -> None:
        """Ends the threads of a run in which a rank has died; all else is left to MPI, which may still know of it."""
        self.batches.close()
        if self.gossip is not None:
            self.gossip.abandon()

    def close(self) -> None:
        """Gives back threads, communicators and shared memory; a collective call."""
        self.batches.close()
        if self.gossip is not None:
            self.gossip.close()
        self.world.close()


def compose(
    config: Config,
    comm: Communicator,
    folder: Path = Path(),
    dataset: Dataset | None = None,
    doing: Callable[[str], None] = lambda what: None,
    placement: Placement | None = None,
) -> ComposedRun:
    """Everything of a run, in the order in which its parts need each other. A collective call.

    `folder` is where files belong that last as long as the run, and `dataset` its data, where they are loaded already;
    `doing` is told what is being done. `placement`: who runs which agent, by default all of them, dealt out in order.
    """
    plug_ins = agree_on_run(comm, config)
    set_arithmetic(config.train.tf32, config.train.deterministic)
    placement = placement or Placement.contiguous(config.agents_on(comm.size), comm.size)
    world = World(comm, placement, "cpu" if config.train.device == "cpu" else "auto")
    require_main_memory(config, world.device)
    require_compiler(config)
    meters = Meters()

    if dataset is None:
        doing(f"loading {config.data.name}")
    dataset = load_once(world, config.data.load, dataset)
    known = agree_on_data(comm, dataset)
    inputs = Inputs.of(config, comm.size, dataset)
    shares, length, precision = inputs.shares, inputs.length, inputs.precision
    known = {**known, **agree_on_shares(comm, shares)}
    dtype = precision.rows
    storage = Storage(world.device, dtype, world.mine, world.sharers)
    batches = config.data.batches(dataset, shares, config.seed, storage)

    doing(f"building {config.model.name}")
    rows = RowModule(inputs.network().to(world.device))
    agree_on_start(comm, rows.module)
    if config.train.compile:
        _compile(rows.module, config.train.deterministic)
    loss = config.loss or per_example_loss(dataset.task)
    learner = Learner(rows, batches, loss, precision, config.seed, config.model.name)
    state = State(world.mine, world.agents, rows.size, dtype, world.device, _spill(config, world, folder))
    statistics = _statistics(config, rows, state, world)
    observations = Observations(world.device, movable(config))
    oracle = (BatchedGradients if config.train.batched else Gradients)(learner, statistics, observations, meters)
    # Among neighbours, sums are there to measure, and not worth memory that ranks share.
    measuring = Reducer(world, rows.size, dtype, config.train.deterministic, shared=config.graph is None)

    def count_bytes(sent: int) -> None:
        meters.bytes_sent += sent

    topology = None if config.graph is None else _topology(config, placement)
    gossip = _gossip(config, topology, world, rows, state, meters)
    links = Links(
        oracle=oracle,
        exchanges=gossip or NoExchanges(),
        topology=topology,
        reduction=measuring.counting(meters),
        measuring=measuring,
        ranks=Movers(world, state),
        count_bytes=count_bytes,
    )
    algorithm = make_algorithm(inputs, world.placement, rows.layout, state, _initial(inputs, rows, world), links)

    wishes = config.evaluate
    every, gradients = length.every(wishes.every), wishes.gradients
    cadence = Cadence(
        every, length.every(wishes.local_every or wishes.every), None if gradients is None else length.every(gradients)
    )
    parts: list[EvaluationPart] = ["test", "validation"] if len(shares.validation) else ["test"]
    models = wishes.models or algorithm.models
    evaluator = Evaluator(
        learner, world, statistics, models, parts, dataset.task != "regression", wishes.local_examples
    )
    sums = Sums(state)
    state.seal()
    epochs = length.rounds / length.rounds_per_epoch
    forecast = Forecast(oracle, evaluator, batches, epochs * sum(inputs.sizes.values()), cadence)
    wide = Reducer(world, rows.size, torch.float64, config.train.deterministic, shared=False)
    heterogeneity = Heterogeneity(oracle, world, wide, models)
    hooks: list[Hook] = [
        NetworkCheck(oracle, evaluator, length.steps),
        *([statistics] if statistics else []),
        forecast,
        Recorder(cadence, evaluator, heterogeneity, observations, measuring, meters, sums),
        # All ranks meet for it, so not in every round, even where an epoch is one.
        DivergenceWatch(observations, min(every, max(round(length.rounds_per_epoch), 50))),
    ]
    training = Training(world, algorithm, length.rounds, length.rounds_per_epoch, hooks)
    of_gossip, transports = (gossip.warnings(), gossip.transports()) if gossip else ((), {"sums": measuring.transport})
    of_parts = (*dataset.warnings, *shares.warnings, *algorithm.warnings())
    of_memory = "" if config.checkpoint.memory is None else useless(world)
    warnings = (*of_parts, *filter(None, [world.warning, measuring.warning, of_memory]), *of_gossip)
    models_to_keep = ModelRows(algorithm, world, evaluator, statistics, _form(inputs, rows, world))
    about_gossip = (meters, gossip, batches, warnings, transports)
    about_data = (known, plug_ins, dataset)
    return ComposedRun(
        config, length, world, training, rows, state, topology, *about_gossip, forecast, models_to_keep, *about_data
    )


def _topology(config: Config, placement: Placement) -> Topology:
    """The graph among the agents that are there."""
    topology = without(build_topology(config, placement.agents), placement.gone)
    if placement.gone:
        require_left(topology, placement.everyone)
    return topology


def _spill(config: Config, world: World, folder: Path) -> Spill | None:
    """Where lazy state goes that exceeds the budget."""
    train = config.train
    if train.state_memory is None:
        return None
    return Spill(train.state_memory, Path(train.state_folder) if train.state_folder else folder)


def _compile(module: nn.Module, exactly: bool) -> None:
    """Compiles what the module computes, but not its hooks: evaluation has one, and with it nothing is compiled."""
    torch.use_deterministic_algorithms(exactly)
    module.forward = torch.compile(module.forward)


def _initial(inputs: Inputs, rows: RowModule, world: World) -> Tensor:
    """The block [k, P] from which this rank's agents start."""
    if inputs.config.model.init != "per-agent":
        return rows.flatten().expand(len(world.mine), -1)
    return torch.stack([RowModule(inputs.network(agent).to(world.device)).flatten() for agent in world.mine])


def _form(inputs: Inputs, rows: RowModule, world: World) -> Form:
    """What the models of this run have in common; of constants only what rank 0 writes."""
    network = Network(rows.entries, inputs.dataset.example_shape, inputs.dataset.outputs)
    constants = rows.constants().numpy() if world.rank == 0 else np.empty(0, dtype=np.uint8)
    return Form(network, constants, {})


def _statistics(config: Config, rows: RowModule, state: State, world: World) -> Statistics | None:
    """The BatchNorm statistics of this rank's agents, or of the server's model; None where a module has none."""
    size = rows.float_buffers + rows.integer_buffers
    if not size:
        return None
    kept_by = OwnStatistics if issubclass(config.method, Decentralized) else ServerStatistics
    initial = rows.flatten_buffers(state.dtype)
    return kept_by(state, initial, world, Reducer(world, size, torch.float64, shared=False), config.evaluate.buffers)


def _gossip(
    config: Config, topology: Topology | None, world: World, rows: RowModule, state: State, meters: Meters
) -> Gossip | None:
    if topology is None:
        return None
    neighbourhood = Neighbourhood(world, topology, config.gossip or GossipSettings(), meters)
    return Gossip(neighbourhood, state, rows.layout, config.seed)
