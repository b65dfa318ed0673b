"""Killed at any moment, a writer leaves a file that opens and holds every flushed record."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mpidl import results
from mpidl.results import run_file
from mpidl.results.names import LIBVER
from mpidl.results.run_file import RunFile
from tests.results.conftest import AGENTS

ROOT = Path(__file__).parents[2]


class Recorder(io.FileIO):
    """A file that notes every write that HDF5 makes to it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "r+")
        self.writes: list[tuple[int, bytes]] = []
        self.truncated: list[int] = []

    def write(self, data: bytes) -> int:
        self.writes.append((self.tell(), bytes(data)))
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        self.truncated.append(self.tell() if size is None else size)
        return super().truncate(size)


def append(run: RunFile, record: int) -> None:
    run.append({"round": record, "train_loss": record / 4, "test_accuracy_local": np.full(AGENTS, record)})
    run.append_timing({"waiting": np.full(2, record)})
    run.event("note", f"at {record}", record)


def check(path: Path, records: int) -> None:
    stored = results.open(path)
    rounds = np.arange(records)
    assert stored.records == records
    assert np.array_equal(stored.metrics["round"], rounds)
    assert np.array_equal(stored.metrics["train_loss"], rounds / 4)
    assert np.array_equal(stored.metrics["test_accuracy_local"], np.tile(rounds[:, None], AGENTS))
    assert np.array_equal(stored.timing["waiting"], np.tile(rounds[:, None], 2))
    # An event may be there before its record; then the writer that takes over has told it again.
    told = list(dict.fromkeys(event.text for event in stored.events))
    assert told[:records] == [f"at {record}" for record in rounds]


def test_a_flush_cut_off_between_or_within_any_two_writes_leaves_a_whole_file(
    create: Callable[..., RunFile], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = create()
    for record in range(3):
        append(run, record)
    run.flush()
    before = run.path.read_bytes()

    recorder = Recorder(run.path)
    monkeypatch.setattr(
        run_file, "open_file", lambda path, mode: h5py.File(recorder, mode, libver=LIBVER, rdcc_nbytes=0)
    )
    append(run, 3)
    run.flush()
    monkeypatch.undo()
    recorder.close()
    assert run.path.stat().st_size == len(before)
    assert not set(recorder.truncated) - {len(before)}

    image = bytearray(before)
    seen = set()
    path = tmp_path / "killed.h5"
    for place, data in recorder.writes:
        assert place + len(data) <= len(before)
        for part in (len(data) // 2, len(data)):
            image[place : place + part] = data[:part]
            path.write_bytes(image)
            records = results.open(path).records
            check(path, records)
            seen.add(records)
    assert seen == {3, 4}
    assert path.read_bytes() == run.path.read_bytes()


def test_a_writer_takes_over_at_any_moment_of_a_flush(
    create: Callable[..., RunFile], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = create()
    append(run, 0)
    run.flush()
    before = run.path.read_bytes()
    recorder = Recorder(run.path)
    monkeypatch.setattr(
        run_file, "open_file", lambda path, mode: h5py.File(recorder, mode, libver=LIBVER, rdcc_nbytes=0)
    )
    append(run, 1)
    run.flush()
    monkeypatch.undo()
    recorder.close()
    image = bytearray(before)
    path = tmp_path / "killed.h5"
    for number, (place, data) in enumerate(recorder.writes):
        image[place : place + len(data)] = data
        if number % 3:
            continue
        path.write_bytes(image)
        again = RunFile.open(path)
        for record in range(again.records, 4):
            append(again, record)
            again.flush()
        again.finish()
        check(path, 4)


def test_a_change_of_structure_that_is_cut_off_leaves_the_file_as_it_was(
    create: Callable[..., RunFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create(room=2)
    append(run, 0)
    append(run, 1)
    run.flush()
    before = run.path.read_bytes()

    class Killed(BaseException):
        pass

    def die(self: Path, target: Path) -> None:
        raise Killed

    append(run, 2)
    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(Killed):
        run.flush()
    assert run.path.read_bytes() == before


def test_a_copy_is_on_the_disk_before_it_takes_the_place_of_the_file_and_the_folder_after(
    create: Callable[..., RunFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create(room=2)
    done = []
    replace, fsync = Path.replace, os.fsync

    def note_replace(self: Path, target: Path) -> Path:
        done.append(("rename", self.stat().st_ino))
        return replace(self, target)

    def note_fsync(descriptor: int) -> None:
        done.append(("fsync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    monkeypatch.setattr(Path, "replace", note_replace)
    monkeypatch.setattr(os, "fsync", note_fsync)
    append(run, 0)
    run.flush()
    copy, folder = run.path.stat().st_ino, run.path.parent.stat().st_ino
    assert done == [("fsync", copy), ("rename", copy), ("fsync", folder)]


def test_events_beyond_the_commit_are_never_shown_and_are_cut(create: Callable[..., RunFile]) -> None:
    run = create()
    append(run, 0)
    append(run, 1)
    run.finish()
    with h5py.File(run.path, "r+", locking=False) as file:
        file["events"].attrs.modify("records", np.int64(1))
    assert [event.text for event in results.open(run.path).events] == ["at 0"]
    RunFile.open(run.path).close()
    with h5py.File(run.path, "r", locking=False) as file:
        assert {len(column) for column in file["events"].values()} == {1}


def test_leftovers_of_a_killed_writer_stop_nobody_and_are_cleared_away(create: Callable[..., RunFile]) -> None:
    run = create()
    append(run, 0)
    run.finish()
    run.path.with_name("run.h5.part").write_bytes(b"half a copy")
    run.path.with_name("run.h5.lock").write_text("process 999999999 on elsewhere")
    again = RunFile.open(run.path)
    append(again, 1)
    again.finish()
    check(run.path, 2)
    assert [path.name for path in run.path.parent.iterdir()] == ["run.h5"]


def test_a_run_whose_writer_was_killed_is_told_from_one_that_runs(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    program = (
        "import os, sys; from mpidl.results.run_file import RunFile\n"
        "run = RunFile.create(sys.argv[1], {}, {}, None, 1); run.append({'round': 0}); run.flush()\n"
        "print('there', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert not results.open(path).abandoned
        writer.kill()
    stored = results.open(path)
    assert (stored.status, stored.abandoned, stored.records) == ("running", True, 1)


def test_ten_kills_at_random_moments_lose_nothing() -> None:
    campaign = subprocess.run(
        [sys.executable, "tools/kill_campaign.py", "--kills", "10", "--seed", "3"],
        cwd=ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert campaign.returncode == 0, campaign.stdout + campaign.stderr
    assert "10 kills, 0 failures" in campaign.stdout


def test_the_campaign_sees_a_lost_record(tmp_path: Path) -> None:
    """A command that claims to have flushed more than it has must be caught."""
    program = tmp_path / "liar.py"
    program.write_text(
        "import sys, time; from mpidl.results.run_file import RunFile\n"
        "run = RunFile.create(sys.argv[1], {}, {}, None, 1); run.append({'round': 0}); run.flush()\n"
        "print('flushed 2', flush=True); time.sleep(600)"
    )
    command = f"{sys.executable} {program} {{output}}"
    campaign = subprocess.run(
        [
            sys.executable,
            "tools/kill_campaign.py",
            "--kills",
            "1",
            "--command",
            command,
            "--after",
            "0.5",
            "--within",
            "0.5",
        ],
        cwd=ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert campaign.returncode == 1
    assert "2 records were flushed, 1 are there" in campaign.stdout


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}
