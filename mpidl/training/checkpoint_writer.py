"""Writing one checkpoint after another: every rank its own file, in a thread; rank 0 makes a checkpoint of them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from mpidl.comm.moves import gather_rows
from mpidl.errors import SaveError
from mpidl.results.checkpoints.folder import part_name
from mpidl.results.checkpoints.index import write_index
from mpidl.results.checkpoints.parts import FileFacts, write_part
from mpidl.results.storage import sync, system_words
from mpidl.task import Task
from mpidl.training.copies import StateCopies, in_place

if TYPE_CHECKING:
    from pathlib import Path

    from mpidl.comm.world import World
    from mpidl.results.checkpoints.folder import CheckpointFolder
    from mpidl.results.checkpoints.index import Facts
    from mpidl.results.checkpoints.parts import Held
    from mpidl.state import State

log = logging.getLogger("mpidl")

# What a rank reports: 0, the system's number of an error, or -1 for another error; bytes; a checksum in four numbers.
_WORDS = 6
# Seconds for a thread to notice that its work is not wanted any more; what it leaves then, the next run removes.
_PATIENCE = 1.0


class CheckpointWriter:
    """Checkpoints of one run. Methods that say so are collective calls, made by all ranks after the same round."""

    def __init__(
        self,
        state: State,
        world: World,
        folder: CheckpointFolder,
        run_file: Path,
        keep: int,
        copied: bool = True,
        best_of: Callable[[Iterable[int]], int | None] = lambda rounds: None,
    ) -> None:
        """The newest `keep` stay, and of all rounds that there are the one that `best_of` says, if any."""
        self._state, self._world, self._folder, self._run_file, self._keep = state, world, folder, run_file, keep
        self._best_of = best_of
        self._copied = copied
        self._copies: StateCopies | None = None
        self._mine: Task[FileFacts] | None = None
        self._whole: Task[None] | None = None
        self._facts: Facts | None = None
        self._began, self._abandoned = 0.0, threading.Event()
        self.begun = 0
        """How many there were."""
        self.seconds = 0.0
        """The longest that one has taken, on rank 0."""
        self.unsaved: SaveError | None = None
        """On rank 0, why the last one is not there, if it is not."""

    def allocate(self) -> None:
        """Have memory for the copies that are written while training goes on."""
        if self._copied:
            self._copies = StateCopies(self._state, self._world.rank)

    @property
    def written(self) -> int:
        """How many files this rank has written, or has failed to."""
        return self.begun - (self._mine is not None and not self._mine.over)

    @property
    def nbytes(self) -> int:
        """About what a file of this rank has."""
        return self._state.bytes()

    def begin(self, facts: Facts, apart: bool) -> None:
        """Write the present state, while training goes on if it is to be `apart` and there is memory for a copy."""
        self._facts, self._began = facts, time.perf_counter()
        copies = self._copies if apart else None
        held = copies.take() if copies else in_place(self._state, self._world.rank)
        self._mine = Task(partial(self._write, facts.round, held), apart=copies is not None)
        self.begun += 1

    def collect(self) -> None:
        """Tell rank 0 of all files, once this rank's is written, and have it complete the checkpoint. Collective."""
        if self._mine is None or self._facts is None:
            return
        report = torch.tensor([_report(self._mine)], dtype=torch.int64)
        self._mine = None
        reports = gather_rows(self._world, report, range(self._world.size))
        if reports is not None:
            self._whole = Task(partial(self._complete, self._facts, reports.numpy()), apart=True)

    def look(self) -> None:
        """On rank 0, take note of a checkpoint that has become complete, or could not."""
        if self._whole is None or not self._whole.over:
            return
        whole, self._whole = self._whole, None
        try:
            whole.outcome()
        except (OSError, RuntimeError) as error:
            before, self.unsaved = self.unsaved, SaveError(_sentence(self._facts, error))
            if before is None:
                log.warning("%s; training goes on, and the checkpoint before stays", self.unsaved)
            return
        self.unsaved = None
        self.seconds = max(self.seconds, time.perf_counter() - self._began)

    def conclude(self) -> None:
        """Wait until the last one is complete, or is known not to be. Collective."""
        self.collect()
        if self._whole is not None:
            self._whole.wait()
            self.look()

    def abandon(self, outlived: bool) -> None:
        """Leave nothing of one that will not be complete. Must not communicate.

        `outlived`: whether the run goes on, so that no thread must be left that writes.
        """
        self._abandoned.set()
        for task in (self._mine, self._whole):
            if task is not None:
                task.wait(None if outlived else _PATIENCE)
        if self._mine is not None and self._facts is not None:
            self._folder.forget(self._facts.round)
        self._mine = self._whole = None

    def _write(self, round: int, held: list[Held]) -> FileFacts:
        place = self._folder.unfinished(round)
        self._folder.path.mkdir(exist_ok=True)
        place.mkdir(exist_ok=True)
        return write_part(place / part_name(self._world.rank), round, self._world.rank, held, self._abandoned.is_set)

    def _complete(self, facts: Facts, reports: np.ndarray) -> None:
        folder, round = self._folder, facts.round
        try:
            for rank, (code, *_) in enumerate(reports.tolist()):
                if code:
                    why = os.strerror(code) if code > 0 else "it says why"
                    raise OSError(code, f"{why}, on rank {rank}")
            files = [_listed(rank, report) for rank, report in enumerate(reports)]
            write_index(folder.unfinished(round), facts, list(self._state.declarations.values()), files)
            # Its records come before: whoever goes on from here needs them.
            sync(self._run_file)
            folder.complete(round)
        except BaseException:
            folder.forget(round)
            raise
        rounds = folder.rounds()
        best = self._best_of(rounds)
        folder.keep({*rounds[: self._keep], *([] if best is None else [best])})


def _report(task: Task[FileFacts]) -> list[int]:
    try:
        facts = task.outcome()
    except (OSError, RuntimeError) as error:
        code = getattr(error, "errno", None)
        if not code:
            log.warning("a file of the checkpoint could not be written: %s", system_words(error))
        return [code or -1, *[0] * (_WORDS - 1)]
    return [0, facts.size, *np.frombuffer(bytes.fromhex(facts.sha256), dtype=np.int64).tolist()]


def _listed(rank: int, report: np.ndarray) -> FileFacts:
    return FileFacts(part_name(rank), int(report[1]), report[2:].tobytes().hex())


def _sentence(facts: Facts | None, error: Exception) -> str:
    round = 0 if facts is None else facts.round
    return f"the checkpoint of round {round} could not be written ({system_words(error)})"
