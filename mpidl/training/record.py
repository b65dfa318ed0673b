"""Measuring a run: what is recorded, when, and where it goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mpidl.comm.tree import tree_sum
from mpidl.errors import SaveError
from mpidl.training.loop import Hook, Record, Training

if TYPE_CHECKING:
    from mpidl.comm.meters import Meters
    from mpidl.comm.reduce import Reducer
    from mpidl.results.run_file import RunFile
    from mpidl.training.evaluate import Evaluator
    from mpidl.training.gradients import Gradients

log = logging.getLogger("mpidl")

FLUSH_SECONDS = 1.0


class Recorder(Hook):
    """Measures before the first round, every `every` rounds, and after the last.

    `models` are those of the algorithm that are measured, on each of `parts`; `epoch_of(round)` is the number of
    epochs that the given number of rounds has drawn.
    """

    def __init__(
        self,
        every: int,
        models: Sequence[str],
        parts: Sequence[str],
        evaluator: Evaluator,
        gradients: Gradients,
        reduction: Reducer,
        meters: Meters,
        epoch_of: Callable[[int], float],
    ) -> None:
        self._every, self._models, self._parts, self._epoch_of = every, models, parts, epoch_of
        self._evaluator, self._gradients, self._losses = evaluator, gradients, gradients.losses
        self._reduction, self._meters = reduction, meters

    def rehearse(self, training: Training) -> None:
        self._gradients.rehearse(training.rounds)
        self._evaluator.rehearse(self._parts[0])

    def start(self, training: Training) -> None:
        if not training.done:
            self._record(training)

    def before_round(self, training: Training, t: int) -> None:
        training.algorithm.gradient_norms = {} if self._due(training, t + 1) else None

    def after_round(self, training: Training, done: int) -> None:
        if self._due(training, done):
            self._record(training)

    def _due(self, training: Training, done: int) -> bool:
        return done % self._every == 0 or done == training.rounds

    def _record(self, training: Training) -> None:
        with self._meters.time("evaluation"):
            record: Record = {"round": training.done, "epoch": self._epoch_of(training.done)}
            local = self._measure(training, record)
            agents = self._reduction.gather(np.array(list(local.values()), dtype=float).T)
        for name, values in zip(local, agents.T, strict=True):
            record[name] = values if name.endswith("_local") else float(tree_sum(values)) / len(values)
        record["lr"] = training.algorithm.lr
        record["bytes_sent"] = sum(training.world.comm.allgather(self._meters.bytes_sent))
        record["seconds"] = training.seconds
        training.record(record)

    def _measure(self, training: Training, record: Record) -> dict[str, list[float] | np.ndarray]:
        """Puts quantities of shared models into the record; returns the others, one for each local agent."""
        algorithm = training.algorithm
        local: dict[str, list[float] | np.ndarray] = dict(algorithm.diagnostics())
        for name in self._models:
            model = algorithm.model(name)
            for part in self._parts:
                measure = self._evaluator.each if model.ndim == 2 else self._evaluator.shared
                into = local if model.ndim == 2 else record
                for quantity, value in measure(model, part).items():
                    into[f"{part}_{quantity}_{name}"] = value
        local["train_loss"] = self._losses.collect()
        norms = algorithm.gradient_norms or {}
        local["gradient_norm"] = [norms.get(agent, np.nan) for agent in algorithm.agents]
        return local


class FileWriter(Hook):
    """Writes every record into the run file, together with each rank's timing; flushed at most once a second.

    What cannot be saved does not stop the training: a person is told, and the next flush tries again. `problem` is
    what has not been saved in the end.
    """

    def __init__(self, run_file: RunFile | None, meters: Meters) -> None:
        """`run_file` is rank 0's; the other ranks hand in their timing and write nothing."""
        self._run_file, self._meters = run_file, meters
        self._flushed, self._warned = -np.inf, False
        self.problem: SaveError | None = None

    def recorded(self, training: Training, record: Record) -> None:
        mine = self._meters.read()
        ranks = training.world.comm.gather(mine)
        if self._run_file is not None:
            self._run_file.append(record)
            self._run_file.append_timing({name: np.array([rank[name] for rank in ranks]) for name in mine})
            if time.perf_counter() - self._flushed > FLUSH_SECONDS:
                self._save(self._run_file.flush)
                self._flushed = time.perf_counter()

    def finish(self, training: Training, status: str) -> None:
        if self._run_file is not None:
            self._save(partial(self._run_file.finish, status))

    def _save(self, write: Callable[[], None]) -> None:
        self.problem = None
        try:
            with self._meters.time("io"):
                write()
        except SaveError as error:
            self.problem = error
            if not self._warned:
                log.warning("%s; training goes on, and it is tried again", error)
            self._warned = True
