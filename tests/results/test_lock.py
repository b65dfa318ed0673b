"""One writer at a time, and no lock outlives its process."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mpidl import results
from mpidl.comm.start import presence
from mpidl.errors import ResultsError
from mpidl.results import lock
from mpidl.results.run_file import RunFile

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def test_a_second_lock_is_refused_until_the_first_is_released(tmp_path: Path) -> None:
    target = tmp_path / "run.h5"
    first = lock.WriterLock(target)
    assert lock.loss(target) == ""
    with pytest.raises(ResultsError, match="being written"):
        lock.WriterLock(target)
    first.release()
    assert lock.loss(target) == "killed"
    assert not list(tmp_path.iterdir())
    lock.WriterLock(target).release()


def test_a_writer_that_ends_by_an_exception_leaves_no_lock(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from mpidl.results.lock import WriterLock; lock = WriterLock(Path('run.h5')); 1 / 0"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, check=False
    )
    assert b"ZeroDivisionError" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_releasing_twice_does_not_remove_the_next_writers_lock(tmp_path: Path) -> None:
    first = lock.WriterLock(tmp_path / "run.h5")
    first.release()
    second = lock.WriterLock(tmp_path / "run.h5")
    first.release()
    assert second.path.exists()
    second.release()


def test_a_lock_file_that_its_holder_removes_while_it_is_being_locked_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, path = fcntl.flock, tmp_path / "run.h5.lock"

    def after_the_holder_ended(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        monkeypatch.setattr(fcntl, "flock", flock)
        path.unlink()

    monkeypatch.setattr(fcntl, "flock", after_the_holder_ended)
    first = lock.WriterLock(tmp_path / "run.h5")
    with pytest.raises(ResultsError, match="being written"):
        lock.WriterLock(tmp_path / "run.h5")
    first.release()


def test_a_lock_is_removed_before_it_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lock.WriterLock(tmp_path / "run.h5")
    held = []
    close = os.close
    monkeypatch.setattr(os, "close", lambda descriptor: (held.append(first.path.exists()), close(descriptor)))
    first.release()
    assert held == [False]


@pytest.mark.parametrize("words", ["process 1 on elsewhere", "half of", ""])
def test_a_writer_that_cannot_be_seen_is_told_by_how_long_it_has_been_silent(tmp_path: Path, words: str) -> None:
    (tmp_path / "run.h5.lock").write_text(words)
    assert lock.loss(tmp_path / "run.h5") == ""
    os.utime(tmp_path / "run.h5.lock", (0, time.time() - lock.SILENT_SECONDS - 1))
    assert lock.loss(tmp_path / "run.h5") == "silent"


def test_a_writer_shows_that_it_lives_until_it_gives_up_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_SIGN_SECONDS", 0.01)
    before = set(threading.enumerate())
    held = lock.WriterLock(tmp_path / "run.h5")
    (thread,) = set(threading.enumerate()) - before
    os.utime(held.path, (0, 0))
    while not held.path.stat().st_mtime:
        assert thread.is_alive()
    held.release()
    thread.join()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc tells of processes")
def test_a_process_that_is_dead_though_nobody_has_buried_it_writes_no_more(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as writer:
        os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)
        (tmp_path / "run.h5.lock").write_text(f"process {writer.pid} on {platform.node()}")
        assert lock.loss(tmp_path / "run.h5") == "killed"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc tells of processes")
def test_another_process_that_has_got_the_writers_number_is_not_taken_for_it(tmp_path: Path) -> None:
    path = tmp_path / "run.h5.lock"
    path.write_text(f"process {os.getpid()} on {platform.node()}")
    assert lock.loss(tmp_path / "run.h5") == ""
    os.utime(path, (0, time.time() - presence.age() - lock.SILENT_SECONDS - 1))
    assert lock.loss(tmp_path / "run.h5") == "killed"


def test_a_file_system_without_locks_is_noted_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    run = RunFile.create(tmp_path / "run.h5", {}, {}, None, 1)
    run.finish("interrupted")
    RunFile.open(run.path).finish()
    # By each of its writers.
    assert ["no locks" in event.text for event in results.open(run.path).events] == [True, True]
