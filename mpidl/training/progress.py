"""Telling a person how a run is going: a bar on a terminal, elsewhere a line for each record.

Only what is in the run file is told, so that whatever ends a run, nothing that was printed is lost.
"""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mpidl.training.loop import Hook, Record, Training

_SHOWN = ("train_loss", "test_accuracy_", "test_loss_", "consensus_distance")


class ProgressLines(Hook):
    """A line for the newest record at each flush, and one before an evaluation that takes long."""

    def __init__(self, evaluation: float = 0.0) -> None:
        """`evaluation`: seconds that one is expected to take."""
        self._evaluation = evaluation
        self._newest: Record | None = None

    def measuring(self, training: Training) -> None:
        if self._evaluation > 5:
            where = f"round {training.done}/{training.rounds}"
            print(f"{where}  evaluating, about {self._evaluation:.0f} s", file=sys.stderr, flush=True)

    def recorded(self, training: Training, record: Record) -> None:
        self._newest = record

    def flushed(self, training: Training) -> None:
        if self._newest is not None:
            where = f"round {self._newest['round']}/{training.rounds}"
            print(f"{where}  {summary(self._newest)}", file=sys.stderr, flush=True)
            self._newest = None

    def finish(self, training: Training, status: str) -> None:
        self.flushed(training)


class ProgressBar(Hook):
    """A bar beneath the records. Ranks write into a pipe, so the launcher says how wide the terminal is."""

    def __init__(self, columns: int) -> None:
        console = Console(file=sys.stderr, force_terminal=True, width=columns)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        # Before the loop begins: the first record is measured earlier.
        self._task = self._progress.add_task("round", total=None)
        self._records: list[Record] = []

    def start(self, training: Training) -> None:
        self._progress.update(self._task, total=training.rounds, completed=training.done)
        self._progress.start()

    def after_round(self, training: Training, done: int) -> None:
        self._progress.update(self._task, completed=done)

    def measuring(self, training: Training) -> None:
        self._progress.update(self._task, description="evaluating")

    def recorded(self, training: Training, record: Record) -> None:
        self._progress.update(self._task, description="round")
        self._records.append(record)

    def flushed(self, training: Training) -> None:
        for record in self._records:
            self._progress.console.print(f"round {record['round']}  {summary(record)}", highlight=False)
        self._records.clear()

    def finish(self, training: Training, status: str) -> None:
        self.flushed(training)
        self._progress.stop()


def make_progress(evaluation: float) -> Hook:
    """A bar where the launcher found a terminal, else lines; one evaluation is expected to take so many seconds."""
    columns = os.environ.get("MPIDL_TERMINAL", "")
    return ProgressBar(int(columns)) if columns.isdigit() else ProgressLines(evaluation)


def summary(record: Record) -> str:
    """The most telling numbers of a record in a line."""
    shown = [f"epoch {record['epoch']:.4g}"]
    for name, value in record.items():
        if name.startswith(_SHOWN) and not name.endswith("_local") and value == value:
            shown.append(f"{name} {value:.4g}")
    return "  ".join([*shown, f"{record['seconds']:.1f} s"])
