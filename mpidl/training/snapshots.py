"""Keeping the models of a run in its file: every so often, after the last round, and when they are the best so far."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mpidl import results
from mpidl.comm.moves import rows_in_turn
from mpidl.errors import SaveError
from mpidl.layout import FLOATS, INTEGERS, PARAMETERS
from mpidl.results.metrics import best_round, higher_is_better
from mpidl.results.snapshots import BEST, SNAPSHOTS, Form, Models
from mpidl.training.loop import Hook, Record, Training

if TYPE_CHECKING:
    from mpidl.algorithms.base import Algorithm
    from mpidl.comm.meters import Meters
    from mpidl.comm.world import World
    from mpidl.results.run_file import RunFile
    from mpidl.training.evaluate import Evaluator
    from mpidl.training.statistics import Statistics

log = logging.getLogger("mpidl")


@dataclass(frozen=True)
class ModelRows:
    """The present models of a run, with the statistics with which they are measured."""

    algorithm: Algorithm
    world: World
    evaluator: Evaluator
    statistics: Statistics | None
    form: Form
    """Of all models that can be kept."""

    def rows(self, name: str) -> Iterator[dict[str, np.ndarray]]:
        """On rank 0 the only row of a model that all hold, or agent by agent their own, valid until the next is taken.

        Of agents that are gone it is NaN. On other ranks nothing; but all go on to its end, since rows are on their
        way. A collective call.
        """
        model = self.algorithm.model(name).detach()
        if model.ndim == 1:
            rows = [model, *(row for row in self.evaluator.shared_statistics(model) if row is not None)]
            if self.world.rank == 0:
                yield _on_host(rows)
            return
        there, last = iter(self.world.everyone), -1
        for arrived in rows_in_turn(self.world, [model, *self._own_statistics()]):
            agent = next(there)
            yield from repeat(self._nothing(), agent - last - 1)
            yield _on_host(arrived)
            last = agent
        if self.world.rank == 0:
            yield from repeat(self._nothing(), self.world.agents - last - 1)

    def _nothing(self) -> dict[str, np.ndarray]:
        """In place of the model of an agent that is gone."""
        network = self.form.network
        row = {kind: np.full(network.length(kind), np.nan, network.dtype) for kind in (PARAMETERS, FLOATS)}
        return row | {INTEGERS: np.zeros(network.length(INTEGERS), np.int64)}

    def _own_statistics(self) -> list[Tensor]:
        """Blocks [k, …] of what this rank's agents keep beside their parameters."""
        if self.statistics is None:
            return []
        pairs = [self.statistics.of_agent(agent) for agent in self.world.mine]
        return [torch.stack(rows) for rows in zip(*pairs, strict=True)]


class Keeper(Hook):
    """Keeps some of the models in one group of the run file; agents' own go to rank 0 for that, one at a time.

    What cannot be saved does not stop the training: a person is told, and `unsaved` says what was lost last.
    """

    group: str

    def __init__(
        self, run_file: RunFile | None, models: ModelRows, names: Mapping[str, int | None], meters: Meters
    ) -> None:
        """`run_file` is rank 0's."""
        self._run_file, self._models, self._meters = run_file, models, meters
        self._form = replace(models.form, models=names)
        self.unsaved: SaveError | None = None

    def keep(self, done: int, places: int) -> None:
        """Keep the models as they are after so many rounds, one of so many times. A collective call."""
        rows = {name: self._models.rows(name) for name in self._form.models}
        with self._meters.time("io"):
            try:
                if self._run_file is not None:
                    self._run_file.keep(self.group, self._form, Models(done, rows), places)
            except SaveError as error:
                log.warning("%s; the models of round %d are lost, and training goes on", error, done)
                self.unsaved = error
            # Other ranks are about to send them, whether there is room for them or not.
            for left in rows.values():
                for _ in left:
                    pass


class Snapshots(Keeper):
    """Keeps models every so many rounds, if that is wished, and after the last."""

    group = SNAPSHOTS

    def __init__(
        self,
        run_file: RunFile | None,
        models: ModelRows,
        names: Mapping[str, int | None],
        meters: Meters,
        every: int | None,
    ) -> None:
        super().__init__(run_file, models, names, meters)
        self._every = every

    def start(self, training: Training) -> None:
        # A run that was ended between its last round and the last word of its file.
        if training.done == training.rounds:
            here = 0 if self._run_file is None else self._run_file.kept_last(self.group) == training.done
            if not training.world.sum(np.array([here], dtype=np.int64))[0]:
                self.keep(training.done, 1)

    def after_round(self, training: Training, done: int) -> None:
        if training.due(self._every or training.rounds, done):
            self.keep(done, -(-training.rounds // (self._every or training.rounds)))


class BestModels(Keeper):
    """Keeps models whenever a metric, over agents its mean, is better than in all records before."""

    group = BEST

    def __init__(
        self, run_file: RunFile | None, models: ModelRows, names: Mapping[str, int | None], meters: Meters, metric: str
    ) -> None:
        super().__init__(run_file, models, names, meters)
        self._metric, self._sign = metric, 1 if higher_is_better(metric) else -1
        # After a resume, of what the file still keeps.
        before = None if run_file is None else _best_so_far(run_file.path, metric)
        self._best = -math.inf if before is None else self._sign * before

    def recorded(self, training: Training, record: Record) -> None:
        better = False
        # Rank 0 has the values of all agents, and so decides.
        if self._run_file is not None and self._metric in record:
            value = self._sign * _of_run(training.world, record[self._metric])
            better = value > self._best
            self._best = max(value, self._best) if better else self._best
        if training.world.sum(np.array([better], dtype=np.int64))[0]:
            self.keep(training.done, 2)


class MetricByRound(Hook):
    """On rank 0, what a metric was after each round that was recorded, over agents its mean."""

    def __init__(self, metric: str, before: Mapping[int, float]) -> None:
        """`before`: of a run that goes on, what its file has of it."""
        self._metric, self._values = metric, dict(before)

    def recorded(self, training: Training, record: Record) -> None:
        if training.world.rank == 0 and self._metric in record:
            self._values[training.done] = _of_run(training.world, record[self._metric])

    def best_of(self, rounds: Iterable[int]) -> int | None:
        """The one of these rounds after which it was best; None where none of them was recorded."""
        return best_round(self._metric, self._values, rounds)


def _of_run(world: World, value: float | np.ndarray) -> float:
    """A measurement of the run, or the mean of those of all agents that are there."""
    return float(np.mean(value[list(world.everyone)]) if isinstance(value, np.ndarray) and value.ndim else value)


def _best_so_far(path: Path, metric: str) -> float | None:
    """What the metric was, over agents its mean, when the best models that a run file keeps were kept."""
    run = results.open(path)
    found = [each.round for each in run.kept if each.group == BEST]
    if not found or metric not in run.metrics:
        return None
    return float(run.curve(metric)[int(np.searchsorted(run.metrics["round"], found[0]))])


def _on_host(rows: Sequence[Tensor]) -> dict[str, np.ndarray]:
    """A row, and its floating and whole buffers if there are any, by name."""
    return dict(zip((PARAMETERS, FLOATS, INTEGERS), (row.cpu().numpy() for row in rows), strict=False))
