"""Measuring a run: what is recorded, when, and where it goes."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from mpidl.comm.meters import BYTES_OTHER
from mpidl.comm.tree import tree_sum
from mpidl.errors import SaveError
from mpidl.results.metrics import METRICS
from mpidl.training.loop import Hook, Record, Training
from mpidl.training.observations import mean_losses, summed_losses

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.algorithms.base import Algorithm
    from mpidl.comm.meters import Meters
    from mpidl.comm.reduce import Reducer
    from mpidl.comm.world import World
    from mpidl.results.run_file import RunFile
    from mpidl.state import State
    from mpidl.training.evaluate import Evaluator
    from mpidl.training.heterogeneity import Heterogeneity
    from mpidl.training.observations import Observations

log = logging.getLogger("mpidl")

FLUSH_SECONDS = 1.0
# For a write that another thread has begun; a rank that is told to end has two seconds in all.
_PATIENCE_SECONDS = 1.0

_OF_EVERY_RUN = {metric.name for metric in METRICS}

Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Cadence:
    """How many rounds lie between two records, and between those that have more: None where none has.

    What is rarer than records is measured with the first record after it is due; all is with the first and the last.
    """

    every: int
    own: int | None
    """With agents' own models."""
    gradients: int | None
    """With gradients over all data."""

    def records(self, training: Training, rarely: int | None = 1) -> int:
        """How many records there will be, or how many of them with what is rarer."""
        rounds = [0, *range(self.every, training.rounds, self.every), training.rounds]
        return sum(self.has(training, rarely, done) for done in rounds)

    def has(self, training: Training, rarely: int | None, done: int) -> bool:
        """Whether the record of this round has what is rarer."""
        if rarely is None:
            return False
        before = (done - 1) // self.every * self.every
        return done in (0, training.rounds) or done // rarely > before // rarely


class Sums:
    """What records tell of all rounds so far, or of those since the record before: part of the state of a run."""

    def __init__(self, state: State) -> None:
        self.drawn = state.number("examples drawn")
        """By all agents."""
        self.sent = state.number("bytes sent", dtype=torch.int64)
        """By the algorithm's formula."""
        self.losses = state.counts("losses seen", state.total)
        self.loss = state.shared("sum of losses", state.total, torch.float64)
        """By agent, since the last record, as they were when the state was settled."""


class Recorder(Hook):
    """Measures before the first round, every so many rounds, and after the last."""

    def __init__(
        self,
        cadence: Cadence,
        evaluator: Evaluator,
        heterogeneity: Heterogeneity,
        observations: Observations,
        reduction: Reducer,
        meters: Meters,
        sums: Sums,
    ) -> None:
        self._cadence, self._evaluator, self._observations = cadence, evaluator, observations
        self._heterogeneity = heterogeneity
        self._reduction, self._meters, self._sums = reduction, meters, sums
        self._sent = 0
        """Of what this rank's meter says, what is in the sums."""

    def start(self, training: Training) -> None:
        if not training.done:
            self._record(training)
            return
        seen, total = self._sums.losses.tolist(), self._sums.loss.tolist()
        for agent in training.world.mine:
            if seen[agent]:
                self._observations.go_on(agent, seen[agent], total[agent])

    def before_round(self, training: Training, t: int) -> None:
        training.algorithm.observed = due = training.due(self._cadence.every, t + 1)
        self._observations.begin(t, norms=due)

    def after_round(self, training: Training, done: int) -> None:
        if training.due(self._cadence.every, done):
            self._record(training)

    def settle(self, training: Training) -> None:
        self._count(training.world)
        sums = summed_losses(training.world.concatenate(self._observations.losses()))
        seen = [sums.get(agent, (0, 0.0)) for agent in range(training.world.agents)]
        self._sums.losses.copy_(torch.tensor([count for count, _ in seen]))
        self._sums.loss.copy_(torch.tensor([total for _, total in seen], dtype=torch.float64))

    def _count(self, world: World) -> None:
        """Add up what was drawn and sent since the last call."""
        sent, self._sent = self._meters.bytes_sent - self._sent, self._meters.bytes_sent
        drawn, sent = world.sum(np.array([self._observations.collect_examples(), sent], dtype=np.int64)).tolist()
        self._sums.drawn += drawn
        self._sums.sent += sent

    def _record(self, training: Training) -> None:
        training.measuring()
        world, algorithm = training.world, training.algorithm
        with self._meters.time("evaluation"):
            self._count(world)
            epoch = float(self._sums.drawn) / sum(algorithm.sizes.values())
            record: Record = {"round": training.done, "epoch": epoch}
            cadence, done = self._cadence, training.done
            of_shared, of_agents = self._evaluator.measure(algorithm, own=cadence.has(training, cadence.own, done))
            record |= of_shared
            means = _declared(algorithm, algorithm.diagnostics())
            if means or of_agents:
                columns = [*means.values(), *of_agents.values()]
                everywhere = self._reduction.gather(np.array(columns, dtype=float).T)
                for name, values in zip([*means, *of_agents], everywhere.T, strict=True):
                    record[name] = _mean(values) if name in means else _by_number(world, values)
            # Of the agents that took part, since the record before and in the last round.
            losses = mean_losses(world.concatenate(self._observations.collect()))
            record["train_loss"] = _mean([losses[agent] for agent in sorted(losses)])
            record["gradient_norm"] = _over_agents(world, self._observations.norms or {})
            for name, seen in _declared(algorithm, algorithm.crew_diagnostics()).items():
                record[name] = _over_agents(world, seen)
            record |= _declared(algorithm, algorithm.server_diagnostics())
            if cadence.has(training, cadence.gradients, done):
                record |= self._heterogeneity.measure(algorithm)
        record["lr"] = algorithm.lr
        record["bytes_sent"] = int(self._sums.sent)
        record["seconds"] = training.seconds
        training.record(record)


def _declared(algorithm: Algorithm, diagnostics: Mapping[str, Measured]) -> Mapping[str, Measured]:
    """The diagnostics, once it is seen that the algorithm has told their units, and that they are nothing else's."""
    own = {metric.name for metric in algorithm.metrics}
    for name in diagnostics:
        if name in _OF_EVERY_RUN:
            what = f"records {name!r}, which every run records; choose another name"
        elif name not in own:
            what = f"records {name!r}, which its `metrics` does not name; add Metric({name!r}, units, description)"
        else:
            continue
        raise algorithm.refused(what)
    return diagnostics


def _over_agents(world: World, mine: Mapping[int, float | Tensor]) -> float:
    """The mean of one number for each agent that took part in the last round, of which this rank ran those in `mine`.

    A collective call.
    """
    here = [(agent, float(value)) for agent, value in mine.items()]
    everywhere = world.concatenate(np.array(here, dtype=np.float64).reshape(-1, 2))
    return _mean([value for _, value in sorted(everywhere.tolist())])


def _by_number(world: World, values: np.ndarray) -> np.ndarray:
    """The values of all agents that are there, at their numbers; NaN of those that are gone."""
    numbered = np.full(world.agents, np.nan)
    numbered[list(world.everyone)] = values
    return numbered


def _mean(values: Sequence[float] | np.ndarray) -> float:
    """In a fixed order; NaN where there are none."""
    return float(tree_sum(values)) / len(values) if len(values) else math.nan


class FileWriter(Hook):
    """Writes every record into the run file, together with each rank's timing; flushed at most once per second.

    A record that came too soon after a flush waits for the next round that ends late enough. What cannot be saved does
    not stop the training: a person is told, and the next flush tries again. `unsaved` says what has not been saved in
    the end.
    """

    def __init__(self, run_file: RunFile | None, meters: Meters) -> None:
        """`run_file` is rank 0's; the other ranks hand in their timing and write nothing."""
        self._run_file, self._meters = run_file, meters
        self._flushed, self._waiting, self._warned = -np.inf, False, False
        self._foretold = ""
        """The status that the file has already, should the process be ended before it can `finish`."""
        self._over = False
        """Whether the file has its last word."""
        self.unsaved: SaveError | None = None

    def recorded(self, training: Training, record: Record) -> None:
        mine = self._meters.read() | {BYTES_OTHER.name: training.world.meters.bytes_mpi}
        timing = training.world.gather_numbers(mine)
        if self._run_file is not None:
            with self._run_file.busy:
                self._run_file.append(record)
                self._run_file.append_timing(timing)
            self._waiting = True

    def start(self, training: Training) -> None:
        self._flush(training)

    def after_round(self, training: Training, done: int) -> None:
        self._flush(training)

    def save_at_once(self, failed: bool) -> None:
        """In another thread, when the process is about to be ended: what the main one may have no time to save."""
        if self._run_file is None or not self._run_file.busy.acquire(timeout=_PATIENCE_SECONDS):
            return
        try:
            if self._over:
                return
            if not self._foretold:
                # First: a launcher has been seen to kill its ranks 0.25 s after it told them to end. And once: it tells
                # them so too when one has failed.
                self._foretold = "failed" if failed else "interrupted"
                self._run_file.foretell(self._foretold)
            self._run_file.flush()
        except SaveError as error:
            log.warning("%s", error)
        finally:
            self._run_file.busy.release()

    def settle(self, training: Training) -> None:
        # Whoever goes on from here finds in the file what was recorded until now.
        self._flushed = -np.inf
        self._flush(training)

    def finish(self, training: Training, status: str) -> None:
        if self._run_file is None:
            return
        with self._run_file.busy:
            self._over = True
            if status == "running":
                # What was measured last may be anything; whoever goes on has it measured again.
                self._run_file.close()
            else:
                told_to_end_by_a_failure = status == "interrupted" and self._foretold == "failed"
                self._save(partial(self._run_file.finish, "failed" if told_to_end_by_a_failure else status))

    def _flush(self, training: Training) -> None:
        if self._run_file is None or not self._waiting:
            return
        if time.perf_counter() - self._flushed > FLUSH_SECONDS:
            self._save(self._run_file.flush)
            self._flushed, self._waiting = time.perf_counter(), False
            training.flushed()

    def _save(self, write: Callable[[], None]) -> None:
        self.unsaved = None
        try:
            with self._meters.time("io"):
                write()
        except SaveError as error:
            self.unsaved = error
            if not self._warned:
                log.warning("%s; training goes on, and it is tried again", error)
            self._warned = True
