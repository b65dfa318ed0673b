"""The loop: rounds of one algorithm, with everything else hooked in."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpidl.errors import Diverged, DivergenceError, Stopped
from mpidl.training.blame import failed

if TYPE_CHECKING:
    import numpy as np

    from mpidl.algorithms.base import Algorithm
    from mpidl.comm.world import World


_STATUS = {DivergenceError: "diverged", KeyboardInterrupt: "interrupted", Stopped: "interrupted"}

Record = dict[str, "float | np.ndarray"]
"""Measurements at one moment by metric: a number for the run, or one for each agent."""


class Hook:
    """What can be hooked into the loop. Hooks run in their order, on every rank, and may communicate."""

    def check(self, training: Training) -> None:
        """Before anything is written: fails where the run would, and leaves no trace. Must not communicate."""

    def start(self, training: Training) -> None:
        """Before the first round."""

    def before_round(self, training: Training, t: int) -> None:
        """Before round t, counted from 0."""

    def after_round(self, training: Training, done: int) -> None:
        """After a round; `done` are done now."""

    def settle(self, training: Training) -> None:
        """Before the state is read between two rounds: bring into it what ranks have kept apart. May communicate."""

    def measuring(self, training: Training) -> None:
        """Before a record is measured, which may take long."""

    def recorded(self, training: Training, record: Record) -> None:
        """After a record of measurements was made; it is complete on rank 0 and partial elsewhere."""

    def flushed(self, training: Training) -> None:
        """On rank 0, once all records so far are in the run file, or could not be saved. Must not communicate."""

    def finish(self, training: Training, status: str) -> None:
        """At the end ("finished", "diverged", …). Must not communicate: after a failure other ranks may be gone.

        "running": the end on this rank of a run that others go on with, or this one anew, since a rank has died.
        """


@dataclass
class Training:
    """A run that is ready to go: `rounds` rounds of the algorithm, `rounds_per_epoch` of them an epoch.

    Where a round draws more than an epoch, as with local epochs, that is a fraction.
    """

    world: World
    algorithm: Algorithm
    rounds: int
    rounds_per_epoch: float
    hooks: list[Hook]
    done: int = 0
    started: float = field(default_factory=time.perf_counter)
    before: float = 0.0
    """Seconds of training before this start, of a run that is resumed."""
    outlived: Callable[[], bool] = lambda: False
    """Asked after an error: whether that is since a rank has died, and the run goes on without it."""

    def run(self) -> None:
        """All rounds that are left."""
        self.started = time.perf_counter()
        try:
            for hook in self.hooks:
                hook.start(self)
            while self.done < self.rounds:
                self.run_round()
        except BaseException as error:
            self._finish(self._status_after(error))
            raise
        self._finish("finished")

    def check(self) -> None:
        """What can fail at the first use, on this rank alone."""
        for hook in self.hooks:
            hook.check(self)

    def run_round(self) -> None:
        """One round, with all that is hooked to it."""
        for hook in self.hooks:
            hook.before_round(self, self.done)
        try:
            self.algorithm.run_round(self.done)
        except Exception as error:
            if ":" not in self.algorithm.settings.name and not isinstance(error, (Stopped, Diverged)):
                raise
            raise failed(error, "algorithm", self.algorithm.settings.name) from error
        self.done += 1
        for hook in self.hooks:
            hook.after_round(self, self.done)

    def settle(self) -> None:
        """Make the state complete, so that it may be read and saved. A collective call."""
        for hook in self.hooks:
            hook.settle(self)

    def measuring(self) -> None:
        """Tell all hooks that a record is being measured."""
        for hook in self.hooks:
            hook.measuring(self)

    def record(self, record: Record) -> None:
        """Tell all hooks what was measured."""
        for hook in self.hooks:
            hook.recorded(self, record)

    def flushed(self) -> None:
        """Tell all hooks that no record is left to be saved."""
        for hook in self.hooks:
            hook.flushed(self)

    def due(self, every: int, done: int) -> bool:
        """Whether what happens every so many rounds, and after the last, happens once `done` are done."""
        return done % every == 0 or done == self.rounds

    def _status_after(self, error: BaseException) -> str:
        for kind, status in _STATUS.items():
            if isinstance(error, kind):
                return status
        return "running" if isinstance(error, Exception) and self.outlived() else "failed"

    def _finish(self, status: str) -> None:
        for hook in self.hooks:
            hook.finish(self, status)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training on this rank, over all resumes."""
        return self.before + time.perf_counter() - self.started
