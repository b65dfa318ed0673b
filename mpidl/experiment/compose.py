"""From a configuration to a run that is ready to go, on one rank of many."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mpidl.algorithms.base import Surroundings
from mpidl.comm.gossip.settings import Gossip, GossipSettings
from mpidl.comm.meters import Meters
from mpidl.comm.reduce import Reducer
from mpidl.comm.world import Communicator, World
from mpidl.data.batches import Batches
from mpidl.errors import ConfigError
from mpidl.experiment.schema import Config, build_topology
from mpidl.experiment.weights import initial_weights
from mpidl.graphs.base import Topology
from mpidl.models.initial import initial_module
from mpidl.models.losses import per_example_loss
from mpidl.parameters import RowModule
from mpidl.state import State
from mpidl.training.batched import BatchedGradients
from mpidl.training.buffers import AgentBuffers
from mpidl.training.evaluate import Evaluator
from mpidl.training.gradients import Gradients
from mpidl.training.loop import Training
from mpidl.training.precision import Precision
from mpidl.training.record import Recorder
from mpidl.training.watch import DivergenceWatch


@dataclass
class Run:
    """The parts of a composed run that its callers need."""

    config: Config
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
    """By quantity that neighbours exchange, how."""

    def close(self) -> None:
        """Gives back threads, communicators and shared memory; a collective call."""
        self.batches.close()
        if self.gossip is not None:
            self.gossip.close()
        self.world.close()


def compose(config: Config, comm: Communicator) -> Run:
    """Everything of a run, in the order in which its parts need each other. A collective call."""
    _set_arithmetic(config)
    agents = comm.size if config.agents == "auto" else config.agents
    world = World(comm, agents, "cpu" if config.train.device == "cpu" else "auto")
    precision = Precision.named(config.train.precision, config.train.loss_scale)
    dtype = precision.rows
    meters = Meters()

    dataset = config.data.load()
    config.model.check_task(dataset.task)
    shares = config.data.deal(dataset, agents, config.seed)
    batches = config.data.batches(dataset, shares, config.seed, world.device, dtype, world.mine, world.sharers)
    rounds_per_epoch = _rounds_per_epoch(config, shares.sizes)
    rounds = config.train.rounds or max(1, round(config.train.epochs * rounds_per_epoch))

    weights = initial_weights(config.model.initial_file)

    def build(agent: int) -> nn.Module:
        shape = dataset.example_shape
        module = initial_module(config.model, shape, dataset.outputs, config.seed, agent, dtype, weights)
        return module.to(world.device)

    rows = RowModule(build(0))
    if config.train.compile:
        _compile(rows.module, config.train.deterministic)
    state = State(world.mine, agents, rows.size, dtype, world.device)
    buffers = _buffers(config, rows, state, world)
    loss = config.loss or per_example_loss(dataset.task)
    oracle_class = BatchedGradients if config.train.batched else Gradients
    model = config.model.name
    gradients = oracle_class(rows, batches, loss, world.mine, buffers, config.seed, meters, precision, model)
    reduction = Reducer(world, rows.size, dtype, config.train.deterministic, meters)
    measuring = Reducer(world, rows.size, dtype, config.train.deterministic)

    def count_bytes(sent: int) -> None:
        meters.bytes_sent += sent

    topology, gossip = _gossip(config, world, rows.size, dtype, meters)
    algorithm = config.method(
        config.algorithm,
        Surroundings(
            agents=world.mine,
            owners=world.placement.owners,
            sizes=tuple(shares.sizes.tolist()),
            state=state,
            oracle=gradients,
            exchange=gossip.exchange if gossip else _no_exchange,
            reduction=reduction,
            measuring=measuring,
            factor=lambda t: config.schedule.at(t, rounds_per_epoch, rounds),
            initial=_initial(config, rows, world, build),
            count_bytes=count_bytes,
        ),
    )

    every = max(1, config.evaluate.every.rounds(rounds_per_epoch, rounds))
    counts_hits = dataset.task != "regression"
    evaluator = Evaluator(world, rows, batches, loss, counts_hits, buffers, precision, config.seed, model)
    parts = ["test", "validation"] if len(shares.validation) else ["test"]
    models = config.evaluate.models or algorithm.models
    recorder = Recorder(every, models, parts, evaluator, gradients, measuring, meters, _epochs(config, shares.sizes))
    # All ranks meet for it, so not in every round, even where an epoch is one.
    watch = DivergenceWatch(gradients, measuring, min(every, max(rounds_per_epoch, 50)))
    training = Training(world, algorithm, rounds, rounds_per_epoch, [recorder, watch])
    notices, transports = (gossip.notices(), gossip.transports()) if gossip else ((), {})
    warnings = (*dataset.warnings, *shares.warnings, *filter(None, [world.warning]), *notices)
    return Run(config, world, training, rows, state, topology, meters, gossip, batches, warnings, transports)


def _set_arithmetic(config: Config) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.train.tf32
    # As torch.use_deterministic_algorithms, but without its import of the compiler, which takes a second.
    torch.set_deterministic_debug_mode("error" if config.train.deterministic else "default")
    # Filling fresh memory only shows the use of uninitialised values; it would cost a pass over every temporary.
    torch.utils.deterministic.fill_uninitialized_memory = False
    if config.train.deterministic:
        # Read by cuBLAS when it is first used; without it, its matrix products are refused.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def _compile(module: nn.Module, deterministic: bool) -> None:
    """Compiles what the module computes, but not its hooks: evaluation has one, and with it nothing is compiled."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise ConfigError(f"needs a C++ compiler, and there is no {compiler!r}; name another in CXX", "train.compile")
    torch.use_deterministic_algorithms(deterministic)
    module.forward = torch.compile(module.forward)  # type: ignore[method-assign]


def _rounds_per_epoch(config: Config, sizes: np.ndarray) -> int:
    """Rounds of one batch an agent until as many examples were drawn as there are."""
    if config.data.batch == "full":
        return 1
    return max(1, round(int(sizes.sum()) / (len(sizes) * config.data.batch)))


def _epochs(config: Config, sizes: np.ndarray) -> Callable[[int], float]:
    """Epochs drawn in so many rounds of one batch an agent, each example counted when it is drawn."""

    def epochs(rounds: int) -> float:
        if config.data.batch == "full":
            return float(rounds)
        passes, steps = np.divmod(rounds, -(-sizes // config.data.batch))
        drawn = passes * sizes + np.minimum(steps * config.data.batch, sizes)
        return float(drawn.sum() / sizes.sum())

    return epochs


def _initial(config: Config, rows: RowModule, world: World, build: Callable[[int], nn.Module]) -> Tensor:
    """The block [k, P] from which this rank's agents start."""
    if config.model.init != "per-agent":
        return rows.flatten().expand(len(world.mine), -1)
    return torch.stack([RowModule(build(agent)).flatten() for agent in world.mine])


def _buffers(config: Config, rows: RowModule, state: State, world: World) -> AgentBuffers | None:
    """The BatchNorm statistics of this rank's agents, all at their initial values; None where a module has none."""
    size = rows.float_buffers + rows.integer_buffers
    if not size:
        return None
    floats = state.buffers("float buffers", rows.float_buffers, state.dtype)
    integers = state.buffers("integer buffers", rows.integer_buffers, torch.int64)
    for block, initial in zip((floats, integers), rows.flatten_buffers(state.dtype), strict=True):
        block.copy_(initial)
    reduction = Reducer(world, size, torch.float64)
    return AgentBuffers(floats, integers, world.mine, world.placement.owners, reduction, config.evaluate.buffers)


def _gossip(
    config: Config, world: World, parameters: int, dtype: torch.dtype, meters: Meters
) -> tuple[Topology | None, Gossip | None]:
    if config.graph is None:
        return None, None
    topology = build_topology(config, world.agents)
    return topology, Gossip(world, topology, config.gossip or GossipSettings(), parameters, dtype, meters)


def _no_exchange(name: str) -> None:
    raise ConfigError(f"the algorithm mixes {name!r}, but the run has no graph", "graph")
