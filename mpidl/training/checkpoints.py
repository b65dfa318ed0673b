"""Checkpoints of a run while it goes on, and its planned end after one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpidl.errors import SaveError, Stopped
from mpidl.training.consultation import Consultation
from mpidl.training.loop import Hook, Training

if TYPE_CHECKING:
    from mpidl.comm.meters import Meters
    from mpidl.comm.world import World
    from mpidl.results.checkpoints.index import Facts
    from mpidl.training.checkpoint_writer import CheckpointWriter

# What a run that must end by a certain time allows for a first checkpoint, and for its end after the last one.
_BYTES_PER_SECOND, _LEAVING = 50e6, 5.0


@dataclass(frozen=True)
class Wishes:
    """When there are checkpoints, and when the run stops after one.

    `every`: rounds between two of them; None: only one before a stop. `stop` says on any rank whether the run should;
    `seconds_left`, asked on rank 0, how long it may take altogether from now on.
    """

    every: int | None
    stop: Callable[[], bool]
    seconds_left: Callable[[], float]


class Checkpoints(Hook):
    """A checkpoint every so many rounds and after the last, written while training goes on; and one before a stop.

    What cannot be saved does not stop the training: a person is told, and `unsaved` says so in the end.
    """

    def __init__(
        self,
        writer: CheckpointWriter,
        wishes: Wishes,
        facts: Callable[[Training], Facts],
        world: World,
        meters: Meters,
    ) -> None:
        self._writer, self._wishes, self._facts, self._meters = writer, wishes, facts, meters
        self._world, self._consultation = world, Consultation(world)
        self._saved = -1
        """The round of the last one that was begun."""
        self._longest, self._asked = 0.0, 0.0
        """Seconds between two consultations, and when the last one was."""

    @property
    def unsaved(self) -> SaveError | None:
        return self._writer.unsaved

    def start(self, training: Training) -> None:
        self._saved, self._asked = training.done or -1, training.seconds
        if self._wishes.every is not None:
            self._writer.allocate()

    def after_round(self, training: Training, done: int) -> None:
        known = self._consultation.after_round(done, lambda: self._tell(training))
        self._writer.look()
        if known is not None:
            stop, written = known
            if written == self._world.size * self._writer.begun:
                self._writer.collect()
            if stop and done < training.rounds:
                self._stop(training)
        if self._wishes.every is not None and training.due(self._wishes.every, done):
            self._save(training, apart=done < training.rounds)
        if done == training.rounds:
            self.close()

    def finish(self, training: Training, status: str) -> None:
        self._writer.abandon(outlived=status == "running")

    def close(self) -> None:
        """Leaves nothing on its way between ranks, wherever the run ends. A collective call."""
        self._consultation.close()

    def _tell(self, training: Training) -> list[int]:
        """What this rank says in a consultation: whether to stop, and how many of its files are written."""
        self._longest, self._asked = max(self._longest, training.seconds - self._asked), training.seconds
        stop = self._wishes.stop() or (self._world.rank == 0 and self._wishes.seconds_left() < self._needed)
        return [int(stop), self._writer.written]

    @property
    def _needed(self) -> float:
        """Seconds until the run has ended, if it is decided in the next consultation that it should."""
        writing = 1.5 * self._writer.seconds or self._writer.nbytes * self._world.size / _BYTES_PER_SECOND
        return 2 * self._longest + writing + _LEAVING

    def _save(self, training: Training, apart: bool) -> None:
        if self._saved == training.done:
            return
        with self._meters.time("checkpoint"):
            # One at a time: there is memory for one copy.
            self._writer.conclude()
            training.settle()
            self._world.refuse_loss()
            self._writer.begin(self._facts(training), apart)
            self._saved = training.done
            if not apart:
                self._writer.conclude()

    def _stop(self, training: Training) -> None:
        self._save(training, apart=False)
        self._writer.conclude()
        self.close()
        lost = self._world.bcast_text(str(self._writer.unsaved or ""))
        where = f"stopped after round {training.done} of {training.rounds}"
        if lost:
            raise SaveError(f"{where}, but {lost}; it can go on from the checkpoint before, if there is one")
        raise Stopped(f"{where}; --resume goes on from there")
