"""Telling a person how a run is going: one line that is written anew on a terminal, elsewhere lines ever further apart.

Only what is in the run file is told, so that whatever ends a run, nothing that was printed is lost.
"""

from __future__ import annotations

import functools
import os
import sys
import textwrap
import time
from collections.abc import Callable

from mpidl.spoken import duration, number, of_metric
from mpidl.training.loop import Hook, Record, Training

LOG_WIDTH = 80
"""Columns of a line in a log, which somebody may read on a terminal of that width."""

# The next line is due after a second, or after so much of the run so far: a day takes 160 lines, a hundred days 240.
_FIRST_DISTANCE, _GROWTH = 1.0, 0.06
# Seconds between two states of the line on a terminal.
_LINE_SECONDS = 0.1
# An evaluation that takes longer is told before.
_LONG_EVALUATION = 5.0
# And one that is shorter is not to be seen on a terminal.
_SEEN = 0.5
_BAR = 12
_BEGINNING_OF_LINE, _REST_OF_LINE = "\r", "\x1b[K"


class Voice:
    """Where rank 0 speaks. Lines are no wider than `columns`: of the terminal, or those of a log where that is None."""

    def __init__(self, columns: int | None = None) -> None:
        self.on_terminal = columns is not None
        self.width = LOG_WIDTH if columns is None else max(20, columns - 1)
        self._unfinished = False

    def say(self, text: str) -> None:
        """Lines that stay; a long sentence goes on in the next."""
        lines = [piece for line in text.splitlines() for piece in _folded(line, self.width)]
        self._write("".join(f"{line}\n" for line in lines), unfinished=False)

    def doing(self, text: str) -> None:
        """What is being done; on a terminal it stands until something else is told."""
        if self.on_terminal:
            self.line(f"{text}…")
        else:
            self.say(f"{text}…")

    def line(self, text: str) -> None:
        """The line of a terminal that is written anew."""
        self._write(text[: self.width], unfinished=True)

    def _write(self, text: str, unfinished: bool) -> None:
        begin = _BEGINNING_OF_LINE + _REST_OF_LINE if self._unfinished else ""
        self._unfinished = unfinished
        print(begin + text, end="", file=sys.stderr, flush=True)


def _folded(line: str, width: int) -> list[str]:
    """The line in pieces that are no wider; columns of a table stay apart, and no word is broken."""
    if len(line) <= width:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


@functools.cache
def voice() -> Voice:
    """That of this process: ranks write into a pipe, and are told how wide the terminal is, if there is one."""
    columns = os.environ.get("MPIDL_TERMINAL", "")
    return Voice(int(columns) if columns.isdigit() else None)


class ProgressLines(Hook):
    """Lines of the newest record: the first, the last, and between them at distances that grow with the run."""

    def __init__(self, voice: Voice, evaluation: float = 0.0) -> None:
        """`evaluation`: seconds that one is expected to take."""
        self._voice, self._evaluation = voice, evaluation
        self._newest: Record | None = None
        self._told = -1.0
        """Seconds of training at the last line."""

    def measuring(self, training: Training) -> None:
        if self._evaluation > _LONG_EVALUATION and self._is_due(training.seconds):
            self._voice.say(f"{_where(training, training.done)}  evaluating, about {duration(round(self._evaluation))}")

    def recorded(self, training: Training, record: Record) -> None:
        self._newest = record

    def flushed(self, training: Training) -> None:
        if self._newest is not None and self._is_due(float(self._newest["seconds"])):
            self._tell(training)

    def finish(self, training: Training, status: str) -> None:
        # Of a run that others go on with, the run file has only what was flushed.
        if status != "running":
            self._tell(training)

    def _is_due(self, seconds: float) -> bool:
        return self._told < 0 or seconds - self._told >= max(_FIRST_DISTANCE, _GROWTH * seconds)

    def _tell(self, training: Training) -> None:
        if self._newest is not None:
            self._voice.say(summary(training, self._newest, self._voice.width))
            self._told, self._newest = float(self._newest["seconds"]), None


class ProgressLine(Hook):
    """One line on a terminal: how far the run is, how long it will go on, and its newest record."""

    def __init__(self, voice: Voice, evaluation: float = 0.0, clock: Callable[[], float] = time.perf_counter) -> None:
        """`evaluation`: seconds that one is expected to take."""
        self._voice, self._evaluation, self._clock = voice, evaluation, clock
        self._recorded: Record | None = None
        self._shown: Record | None = None
        self._first: tuple[int, float] | None = None
        """The round and the second from which the speed is told."""
        self._drawn = -_LINE_SECONDS
        self._activity = ""

    def start(self, training: Training) -> None:
        self._first = (training.done, self._clock())

    def after_round(self, training: Training, done: int) -> None:
        if self._clock() - self._drawn >= _LINE_SECONDS:
            self._draw(training)

    def measuring(self, training: Training) -> None:
        if self._evaluation > _SEEN:
            self._activity = "evaluating"
            self._draw(training)

    def recorded(self, training: Training, record: Record) -> None:
        self._recorded, self._activity = record, ""

    def flushed(self, training: Training) -> None:
        self._shown = self._recorded
        self._draw(training)

    def finish(self, training: Training, status: str) -> None:
        if status != "running" and self._recorded is not None:
            self._voice.say(summary(training, self._recorded, self._voice.width))

    def _draw(self, training: Training) -> None:
        self._drawn = self._clock()
        full = round(_BAR * training.done / training.rounds)
        fields = [(0, _where(training, training.done)), (4, "━" * full + "─" * (_BAR - full))]
        fields += _numbers(self._shown) if self._shown is not None else []
        fields += [(1, self._activity or self._left(training))]
        self._voice.line(fitting(fields, self._voice.width))

    def _left(self, training: Training) -> str:
        if self._first is None or training.done == self._first[0]:
            return ""
        done, begun = self._first
        per_round = (self._clock() - begun) / (training.done - done)
        left = per_round * (training.rounds - training.done)
        return f"{duration(round(left, 1) if left < 10 else round(left))} left"


def make_progress(evaluation: float) -> Hook:
    """A line that is written anew on a terminal, else lines; one evaluation is expected to take so many seconds."""
    return (ProgressLine if voice().on_terminal else ProgressLines)(voice(), evaluation)


def summary(training: Training, record: Record, width: int) -> str:
    """The most telling numbers of a record, in a line that is no wider."""
    seconds = duration(round(float(record["seconds"]), 1))
    fields = [(0, _where(training, float(record["round"]))), *_numbers(record), (1, seconds)]
    return fitting(fields, width)


def fitting(fields: list[tuple[int, str]], width: int) -> str:
    """The fields in a line, without those of the highest numbers where it is too long; cut where even one is."""
    shown = [field for field in fields if field[1]]
    while len(line := "  ".join(text for _, text in shown)) > width and len(shown) > 1:
        shown.remove(max(shown, key=lambda field: field[0]))
    return line[:width]


def _where(training: Training, done: float) -> str:
    return f"round {number(done)}/{number(training.rounds)}"


def _numbers(record: Record) -> list[tuple[int, str]]:
    """What a record tells of training and of the model that all agents hold."""
    fields = [(5, f"epoch {number(float(record['epoch']))}")]
    for priority, beginning, words in (
        (3, "train_loss", "train loss"),
        (6, "test_loss_", "test loss"),
        (2, "test_accuracy_", "accuracy"),
        (7, "consensus_distance", "distance"),
    ):
        values = {name: value for name, value in record.items() if name.startswith(beginning) and "_local" not in name}
        name = next((name for name, value in values.items() if value == value), None)
        if name is not None:
            fields.append((priority, f"{words} {of_metric(name, float(values[name]))}"))
    return fields
