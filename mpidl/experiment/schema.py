"""The whole configuration, assembled from the registries; no key of any part stands here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from mpidl import config as reading
from mpidl.algorithms import ALGORITHMS
from mpidl.algorithms.base import Algorithm, AlgorithmSettings
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.comm.gossip.schemes.exact import Exact
from mpidl.comm.gossip.settings import CROSS_GRADIENTS, GossipSettings
from mpidl.comm.placement import Placement
from mpidl.comm.settings import FailureSettings
from mpidl.config import Bytes, Duration, Rounds, Seconds
from mpidl.data import DATA
from mpidl.data.source import Source
from mpidl.errors import ConfigError, choices_sentence, quoted
from mpidl.graphs import GRAPHS
from mpidl.graphs.base import Graph, Topology
from mpidl.graphs.validate import require
from mpidl.models import LOSSES, MODELS
from mpidl.models.base import Model
from mpidl.models.losses import Loss
from mpidl.results.names import MOST_AGENTS
from mpidl.results.output import check_run_file
from mpidl.training import SCHEDULES, mirrors
from mpidl.training.schedule import Constant, Schedule
from mpidl.training.settings import CheckpointSettings

Agents = Annotated[int, Field(gt=0, le=MOST_AGENTS)]

LENGTHS = {"train.rounds": ("rounds", "epochs"), "train.epochs": ("epochs", "rounds")}
"""The keys that say how long a run is; of each its last word, and that of the one which it replaces."""


class TrainSettings(reading.Strict):
    """How long, in what precision and on what."""

    rounds: PositiveInt | None = Field(None, description="length of the run in rounds; or give epochs")
    epochs: float | None = Field(None, gt=0, le=1e9, description="length of the run in epochs; or give rounds")
    precision: Literal["float32", "float64", "bfloat16", "float16"] = Field(
        "float32", description="of rows and networks; the 16-bit ones keep rows in float32 and autocast the network"
    )
    loss_scale: float = Field(1024.0, gt=0, description="power of two by which float16 multiplies the loss")
    tf32: bool = Field(False, description="let a GPU round float32 products to TF32")
    compile: bool = Field(False, description="compile the network with torch.compile; needs a C++ compiler")
    batched: bool = Field(
        False, description="evaluate the gradients of a rank's agents at once; numbers then depend on the placement"
    )
    device: Literal["auto", "cpu", "cuda", "xpu"] = Field("auto", description="cuda: of NVIDIA, AMD; xpu: of Intel")
    deterministic: bool = Field(
        True, description="sums over agents in a fixed order, and torch's deterministic kernels"
    )
    threads: PositiveInt | Literal["auto"] = Field(
        1, description="torch's threads per rank; 'auto' gives up equal bits on any number of ranks"
    )
    walltime: Seconds | None = Field(
        None,
        description="how long a rank may run, as 55 min: before, the run stops after a checkpoint, in time for both",
    )

    state_memory: Bytes | None = Field(
        None,
        description="main memory of a rank for state that agents leave between rounds in which they take part, as "
        "4 GB; what is more lies in a file; null: all in main memory",
    )
    state_folder: str | None = Field(None, description="where that file lies; null: in the folder of the run file")
    log: mirrors.Names = Field((), description="where records are copied to beside the run file: tensorboard, wandb")

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.rounds is None) == (self.epochs is None):
            raise ConfigError("give exactly one of 'rounds' and 'epochs'; remove the other, or set it to null")
        if math.frexp(self.loss_scale)[0] != 0.5:
            raise ConfigError(f"{self.loss_scale:g} is not a power of two", "loss_scale")
        if self.walltime is not None and not self.walltime > 0:
            raise ConfigError(f"{self.walltime:g} seconds are no time to run in", "walltime")
        if self.state_folder is not None and self.state_memory is None:
            raise ConfigError("is for what exceeds a budget: give train.state_memory, or remove it", "state_folder")
        if self.batched and self.compile:
            raise ConfigError("a compiled network cannot be batched; choose one of 'compile' and 'batched'")
        return self


class EvaluateSettings(reading.Strict):
    """What is measured, and how often."""

    every: Rounds = Field(
        Duration(amount=1, unit="epochs"), description="how often; also before the first round and after the last"
    )
    models: tuple[str, ...] | None = Field(None, description="which of the algorithm's models; all of them by default")
    local_every: Rounds | None = Field(
        None, description="how often agents' own models are measured, with the next record; null: with every record"
    )
    local_examples: PositiveInt | Literal["share", "all"] = Field(
        "share",
        description="examples that each agent's own model is measured on, drawn by the seed, each class with its "
        "share; share: 500, or more where all agents together then see what a shared model does",
    )
    gradients: Rounds | None = Field(
        None, description="how often agents' gradients over all their data are compared, a pass each time; null: never"
    )
    buffers: Literal["average", "reestimate"] = Field(
        "average", description="BatchNorm statistics of averaged models: the agents' average, or from training data"
    )

    @field_validator("every", "local_every", "gradients")
    @classmethod
    def _some_time(cls, value: Duration | None) -> Duration | None:
        if value is not None and not value.amount:
            raise ConfigError("0 is no distance between two evaluations; give 1 for every round")
        return value


class Config(reading.Strict):
    """A run."""

    name: str = Field("run", min_length=1, description="of the run, and of its file; no / and no \\")
    seed: int = Field(0, ge=0, description="of every random stream")
    agents: Agents | Literal["auto"] = Field("auto", description="learners; auto: one per rank")
    model: Annotated[Model, MODELS] = Field(description="the network")
    loss: Annotated[Loss, LOSSES] | None = Field(
        None, description="the loss of an example; by the data set's task if not given"
    )
    data: Annotated[Source, DATA] = Field(description="the data set and how it is split over agents")
    algorithm: Annotated[AlgorithmSettings, ALGORITHMS] = Field(description="the method")
    graph: Annotated[Graph, GRAPHS] | None = Field(None, description="who talks with whom (decentralized methods)")
    gossip: GossipSettings | None = Field(None, description="how neighbours exchange (decentralized methods)")
    schedule: Annotated[Schedule, SCHEDULES] = Field(Constant(name="constant"), description="of the learning rate")
    train: TrainSettings
    evaluate: EvaluateSettings = EvaluateSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    failures: FailureSettings = FailureSettings()

    @field_validator("name")
    @classmethod
    def _can_name_a_file(cls, value: str) -> str:
        if "/" in value or "\\" in value or not value.isprintable():
            raise ConfigError(
                f"{quoted(value)} is not allowed: a file is called after it, so it can have no /, no \\, and nothing "
                "that cannot be printed"
            )
        return value

    @model_validator(mode="after")
    def _fits_the_algorithm(self) -> Self:
        method = self.method
        if issubclass(method, Decentralized):
            if self.graph is None:
                raise ConfigError(f"is missing; {self.algorithm.name} needs one, as in 'graph: ring'", "graph")
        else:
            for key in ("graph", "gossip"):
                if getattr(self, key) is not None:
                    raise ConfigError(
                        f"{self.algorithm.name} reduces over all agents and has no {key}; remove it, or set {key}=null",
                        key,
                    )
        scheme = self.gossip.scheme if self.gossip else Exact()
        if issubclass(method, Decentralized) and not method.mixed and scheme != Exact():
            raise ConfigError(
                f"{self.algorithm.name} mixes no rows, so that {scheme.name!r} with gamma {scheme.gamma:g} would do "
                "nothing; remove it",
                "gossip.scheme",
            )
        packed = self.gossip.cross_gradients if self.gossip else None
        if packed is not None and not (issubclass(method, Decentralized) and CROSS_GRADIENTS in method.edgewise):
            raise ConfigError(
                f"{self.algorithm.name} sends no cross-gradients that {packed.name!r} could pack; remove it",
                "gossip.cross_gradients",
            )
        edgewise = issubclass(method, Decentralized) and method.edgewise
        if self.gossip and self.gossip.scheme.compresses and self.gossip.wire is not None and not edgewise:
            raise ConfigError(
                f"{self.gossip.wire!r} has no use where rows travel packed by {self.gossip.scheme.name!r}; remove it",
                "gossip.wire",
            )
        if method.one_start and self.model.init == "per-agent":
            raise ConfigError(f"{self.algorithm.name} starts from one model, no agent starts apart", "model.init")
        for name in self.evaluate.models or ():
            if name not in method.models:
                raise ConfigError(choices_sentence(name, method.models), "evaluate.models")
        if self.checkpoint.best is not None and self.checkpoint.best not in self._measured:
            raise ConfigError(choices_sentence(self.checkpoint.best, self._measured), "checkpoint.best")
        return self

    @model_validator(mode="after")
    def _has_use_and_room_for_copies(self) -> Self:
        wished, dropping = self.checkpoint.memory is not None, self.failures.dropping
        if wished and not self.failures.outliving:
            key, value = ("policy", "abort") if self.failures.policy == "abort" else ("max", "0")
            raise ConfigError(
                f"is for ranks that go on when one has died, and failures.{key} is {value}; remove one of the two",
                "checkpoint.memory",
            )
        if (wished or dropping) and self.train.state_memory is not None:
            what, copies = ("'drop' ", "two") if dropping else ("", "four")
            raise ConfigError(
                f"{what}needs memory for {copies} copies of the state, and train.state_memory says that there is not "
                "even enough for one; remove one of the two",
                "failures.policy" if dropping else "checkpoint.memory",
            )
        return self

    @model_validator(mode="after")
    def _can_do_without_agents(self) -> Self:
        scheme = self.gossip.scheme if self.gossip else Exact()
        for name, part in ((self.algorithm.name, self.method), (scheme.name, scheme)):
            if self.failures.dropping and not part.outlives:
                raise ConfigError(
                    f"'drop' is not for {name}, which would not be right without the agents that are gone; say adopt",
                    "failures.policy",
                )
        return self

    @property
    def _measured(self) -> tuple[str, ...]:
        """The losses and accuracies that the run can record."""
        models = self.evaluate.models or self.method.models
        parts = ("test", "validation") if self.data.validation else ("test",)
        quantities = ("loss", "accuracy")
        of_models = [f"{part}_{quantity}_{model}" for part in parts for quantity in quantities for model in models]
        return ("train_loss", *of_models)

    def agents_on(self, ranks: int) -> int:
        """How many agents there are on so many ranks."""
        return ranks if self.agents == "auto" else self.agents

    @property
    def method(self) -> type[Algorithm]:
        """The class of the algorithm."""
        return ALGORITHMS.find(self.algorithm.name)


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """The configuration in a YAML file, with `key=value` overrides; its name is the file's unless it says otherwise."""
    return resolved(keys_of(path), overrides)


def keys_of(path: str | Path) -> dict[str, Any]:
    """The keys in a YAML file; a run is called after the file, unless they say otherwise."""
    return {"name": Path(path).stem} | reading.read(path)


def resolved(keys: Mapping[str, Any], overrides: Iterable[str] = ()) -> Config:
    """The configuration of these keys, with `key=value` overrides."""
    return reading.validate(Config, reading.expand(overridden(keys, overrides)))


def overridden(keys: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """The keys with `key=value` overrides; a length in rounds replaces one in epochs, and the other way round."""
    assignments = list(overrides)
    result = reading.override(keys, assignments)
    named = {assignment.partition("=")[0].strip() for assignment in assignments} & LENGTHS.keys()
    train = result.get("train")
    if len(named) == 1 and isinstance(train, dict):
        given, other = LENGTHS[named.pop()]
        if train.get(given) is not None:
            train.pop(other, None)
    return result


def received(text: str) -> Config:
    """The configuration that the process which started this rank has loaded, as `model_dump_json` wrote it."""
    return reading.validate(Config, json.loads(text))


def output_path(config: Config, output: str | Path | None = None) -> Path:
    """Where the run file goes."""
    return Path(output) if output else Path("runs") / f"{config.name}-s{config.seed}.h5"


def check(config: Config, ranks: int, output: Path, overwrite: bool = False, resume: bool = False) -> None:
    """Refuses what can be seen before MPI starts: too many ranks, a graph that does not fit, an output in the way."""
    agents = config.agents_on(ranks)
    Placement.contiguous(agents, ranks)
    if config.graph is not None:
        build_topology(config, agents)
    check_run_file(output, overwrite, resume)
    mirrors.check(config.train.log)


def build_topology(config: Config, agents: int) -> Topology:
    """The graph of a decentralized run, refused where the algorithm's theory does not hold on it."""
    if config.graph is None:
        raise ConfigError(f"is missing; {config.algorithm.name} needs one", "graph")
    topology = config.graph.build(agents, config.seed)
    gamma = 1.0 if config.gossip is None else config.gossip.scheme.gamma
    for need in config.method.needs(config.algorithm):
        require(topology, need, config.algorithm.name, gamma)
    (config.gossip or GossipSettings()).scheme.check(topology)
    return topology
