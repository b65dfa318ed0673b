"""Measuring a model that a run has kept, by itself: as the run has measured it, to the bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mpidl import config as reading
from mpidl.comm.start import device as devices
from mpidl.data.batches import EvaluationPart, Storage
from mpidl.data.dataset import Dataset
from mpidl.data.shares import Shares
from mpidl.errors import ConfigError, ResultsError, quoted
from mpidl.experiment.schema import Config
from mpidl.models.losses import per_example_loss
from mpidl.parameters import RowModule
from mpidl.results import Run, models
from mpidl.results.models import OWN, KeptModel
from mpidl.training.evaluate import Evaluator, MaybePair
from mpidl.training.learner import Learner
from mpidl.training.precision import Precision, set_arithmetic


@dataclass(frozen=True)
class Measured:
    """A loss or accuracy of a kept model; `recorded` is what the run has recorded of it in that round, if it has."""

    metric: str
    agent: int | None
    round: int
    value: float
    recorded: float | None


@dataclass(frozen=True)
class _OneProcess:
    """In place of the ranks: one that holds the model of one agent out of so many."""

    agents: int
    mine: tuple[int, ...]
    device: torch.device
    rank: int = 0
    size: int = 1

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values


@dataclass(frozen=True)
class _KeptRow:
    """A kept model and its statistics, as an evaluation asks for them."""

    row: Tensor
    statistics: tuple[Tensor, Tensor]

    def model(self, name: str) -> Tensor:
        return self.row[None] if name == OWN else self.row

    def of_shared_model(self, learner: Learner, row: Tensor) -> tuple[Tensor, Tensor]:
        return self.statistics

    def of_agent(self, agent: int) -> MaybePair:
        return self.statistics


def measure(
    run: Run,
    model: str | int | None = None,
    round: int | str | None = None,
    data: str | None = None,
    overrides: Iterable[str] = (),
    plug_ins: bool = False,
) -> list[Measured]:
    """Loss and accuracy of a model that the run's file keeps, by default of one that all agents or the server hold.

    `data` is a section of a configuration, as text, to measure on its test part instead of the run's own; `overrides`
    are `key=value`. The model and the data may be code that does not come with mpidl: it runs if `plug_ins` says so.
    """
    kept = run.model(model, round)
    given = [f"data={data}"] if data is not None else []
    config = configuration(run.path, run.config, [*given, *overrides], plug_ins)
    set_arithmetic(config.train.tf32, config.train.deterministic)
    if config.train.threads != "auto":
        torch.set_num_threads(config.train.threads)
    world = _OneProcess(run.agents, (kept.agent or 0,), devices.resolve(devices.choose(config.train.device, 0)))
    evaluator, holder = _evaluator(kept, config, world, data is None)
    of_shared, of_agents = evaluator.measure(holder)
    values = of_shared | {name: float(each[0]) for name, each in of_agents.items()}
    return [
        Measured(name, kept.agent, kept.round, value, _recorded(run, kept, name) if data is None else None)
        for name, value in values.items()
    ]


def configuration(path: Path, keys: dict[str, Any], overrides: Iterable[str] = (), plug_ins: bool = False) -> Config:
    """The configuration that a file at this path holds, with what is to be different, for a model that was kept."""
    refuse_plug_ins(path, keys, plug_ins)
    # The model is taken from the file, whatever it started from.
    model = keys.get("model")
    if isinstance(model, dict):
        keys = keys | {"model": model | {"init": "shared"}}
    return reading.validate(Config, reading.expand(reading.override(keys, overrides)))


def refuse_plug_ins(path: Path, keys: Mapping[str, Any], allowed: bool) -> None:
    """Refuses a configuration out of a file that names code which does not come with mpidl, unless that is allowed."""
    foreign = next((name for name in _names(keys) if ":" in name), None)
    if foreign is not None and not allowed:
        raise ResultsError(
            f"the configuration in {str(path)!r} names {quoted(foreign)}, code that does not come with mpidl; to have "
            "it run, say --plug-ins"
        )


def _names(value: Any) -> Iterator[str]:
    """Every part that a configuration names."""
    if isinstance(value, Mapping):
        if isinstance(value.get("name"), str):
            yield value["name"]
        for each in value.values():
            yield from _names(each)
    elif isinstance(value, list):
        for each in value:
            yield from _names(each)


def _evaluator(kept: KeptModel, config: Config, world: _OneProcess, own_data: bool) -> tuple[Evaluator, _KeptRow]:
    dataset = config.data.load()
    parts: list[EvaluationPart] = ["test"]
    shares = Shares([np.empty(0, dtype=np.int64)] * world.agents)
    if config.data.validation and own_data:
        parts.append("validation")
        shares = config.data.deal(dataset, world.agents, config.seed)
    # Training examples have no part in it.
    apart = config.model_copy(update={"data": config.data.model_copy(update={"place": "own"})})
    learner = make_learner(kept, apart, dataset, shares, world.device)
    rows = learner.rows
    holder = _KeptRow(rows.flatten(), rows.flatten_buffers(learner.precision.rows))
    statistics = holder if rows.float_buffers + rows.integer_buffers else None
    counts_hits = dataset.task != "regression"
    own = config.evaluate.local_examples
    return Evaluator(learner, world, statistics, (kept.name,), parts, counts_hits, own), holder


def make_learner(kept: KeptModel, config: Config, dataset: Dataset, shares: Shares, device: torch.device) -> Learner:
    """The network of a kept model as it was kept, on the device, with these data."""
    network = kept.network
    for what, has, wants in (
        ("shape", dataset.example_shape, network.example_shape),
        ("outputs", dataset.outputs, network.outputs),
    ):
        if has != wants:
            raise ConfigError(f"its examples have {what} {has}, and the model is made for {wants}", "data")
    precision = Precision.named(config.train.precision, config.train.loss_scale)
    # Whatever is allowed to run has been asked for by now.
    module = models.build(kept, config.model.model_dump(mode="json"), plug_ins=True).to(device)
    batches = config.data.batches(dataset, shares, config.seed, Storage(device, precision.rows, mine=()))
    loss = config.loss or per_example_loss(dataset.task)
    return Learner(RowModule(module), batches, loss, precision, config.seed, config.model.name)


def _recorded(run: Run, kept: KeptModel, metric: str) -> float | None:
    """What the run has recorded of this model when it was kept."""
    records = np.flatnonzero(run.metrics["round"] == kept.round) if run.records else np.empty(0, dtype=np.int64)
    if metric not in run.metrics or not len(records):
        return None
    value = run.metrics[metric][records[-1]]
    if (kept.agent is None) != (np.ndim(value) == 0):
        whose = "of the run" if kept.agent is None else "of each agent"
        raise ResultsError(f"{str(run.path)!r} is damaged: its {metric!r} has no value {whose}")
    found = float(value if kept.agent is None else value[kept.agent])
    return None if np.isnan(found) else found
