"""A run file is flushed often enough to be watched, seldom enough to cost nothing; a problem lasts until it is over."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from mpidl.comm.meters import Meters
from mpidl.errors import SaveError
from mpidl.training import record
from mpidl.training.record import FLUSH_SECONDS, FileWriter

TRAINING = SimpleNamespace(
    flushed=lambda: None,
    world=SimpleNamespace(
        meters=SimpleNamespace(bytes_mpi=0.0),
        gather_numbers=lambda mine: {name: np.array([value]) for name, value in mine.items()},
    ),
)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now


class File:
    """Stands for a run file on a disk that may be full."""

    def __init__(self) -> None:
        self.records, self.flushes, self.full, self.busy = 0, [], False, threading.RLock()
        self.statuses: list[str] = []

    def append(self, row: dict[str, float]) -> None:
        self.records += 1

    def append_timing(self, meters: dict[str, np.ndarray]) -> None:
        """Timing says nothing here."""

    def flush(self) -> None:
        self.flushes.append(self.records)
        if self.full:
            raise SaveError("the disk is full")

    def foretell(self, status: str) -> None:
        self.statuses.append(status)

    def finish(self, status: str) -> None:
        self.flush()
        self.statuses.append(status)


def add(writer: FileWriter, training: SimpleNamespace = TRAINING) -> None:
    """A record after a round."""
    writer.recorded(training, {"round": 0})
    writer.after_round(training, 1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(record, "time", made)
    return made


def test_records_are_flushed_at_most_once_a_second_and_all_in_the_end(clock: Clock) -> None:
    file = File()
    writer = FileWriter(file, Meters())
    for _ in range(40):
        add(writer)
        clock.now += FLUSH_SECONDS / 8
    writer.finish(TRAINING, "finished")
    # The first at once, so that a run can be watched from its start.
    assert file.flushes == [1, 10, 19, 28, 37, 40]


def test_a_problem_is_told_once_and_forgotten_when_a_later_flush_works(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    file = File()
    writer = FileWriter(file, Meters())
    outcomes = []
    with caplog.at_level(logging.WARNING, "mpidl"):
        for file.full in (False, True, True, False, True):
            clock.now += 2 * FLUSH_SECONDS
            add(writer)
            outcomes.append(str(writer.unsaved))
    assert outcomes == ["None", "the disk is full", "the disk is full", "None", "the disk is full"]
    assert [entry.message for entry in caplog.records] == ["the disk is full; training goes on, and it is tried again"]
    file.full = False
    writer.finish(TRAINING, "finished")
    assert writer.unsaved is None


def test_a_record_that_came_too_soon_is_flushed_with_a_later_round_and_told_then(clock: Clock) -> None:
    file, told = File(), []
    training = SimpleNamespace(**vars(TRAINING) | {"flushed": lambda: told.append(file.flushes[-1])})
    writer = FileWriter(file, Meters())
    for _ in range(3):
        add(writer, training)
    for _ in range(4):
        clock.now += FLUSH_SECONDS / 2
        writer.after_round(training, 1)
    assert file.flushes == told == [1, 3]


def test_what_was_recorded_is_saved_by_another_thread_unless_the_file_is_being_written(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = File()
    writer = FileWriter(file, Meters())
    for _ in range(3):
        add(writer)
    monkeypatch.setattr(record, "_PATIENCE_SECONDS", 0.01)

    def elsewhere() -> None:
        thread = threading.Thread(target=writer.save_at_once, args=(False,))
        thread.start()
        thread.join()

    with file.busy:
        elsewhere()
    assert file.flushes == [1]
    elsewhere()
    assert (file.flushes, file.statuses) == ([1, 3], ["interrupted"])


@pytest.mark.parametrize(
    ("warnings", "end", "told"),
    [
        ([True, False], "interrupted", ["failed", "failed"]),
        ([False, True], "interrupted", ["interrupted", "interrupted"]),
        ([True], "finished", ["failed", "finished"]),
        ([], "interrupted", ["interrupted"]),
    ],
)
def test_who_is_told_to_end_since_another_has_failed_says_that_the_run_has(
    warnings: list[bool], end: str, told: list[str]
) -> None:
    file = File()
    writer = FileWriter(file, Meters())
    for failed in warnings:
        writer.save_at_once(failed)
    writer.finish(TRAINING, end)
    # Checkpoints may still be written then, and the rank be told to end.
    writer.save_at_once(failed=False)
    assert file.statuses == told
