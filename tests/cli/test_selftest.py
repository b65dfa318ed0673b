"""`mpidl selftest` from end to end: a line for each area, an exit code of the table, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_run import mpidl

pytestmark = pytest.mark.mpi


def test_what_cannot_be_written_is_told_with_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = mpidl("selftest", "-n", "2", "-o", str(tmp_path / "file"))
    assert done.returncode == 4, done.stderr
    outcomes = {line[:14].strip(): line[16:].split()[0] for line in done.stdout.splitlines()}
    assert list(outcomes)[:2] == ["MPI", "messages"] and outcomes["graph"] == "passed"
    assert [outcomes[name] for name in ("output", "checkpoint", "determinism")] == ["failed", "skipped", "skipped"]
    assert done.stderr.endswith("1 of 9 areas failed: output\n") and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_ranks_that_do_not_come_together_in_time_are_told_and_ended(tmp_path: Path) -> None:
    done = mpidl("selftest", "-n", "2", "-o", str(tmp_path), "--patience", "0.001")
    assert done.returncode == 5, done.stderr
    assert done.stdout.startswith("MPI             failed   it has not joined the ranks within 0.001 s")
    assert done.stderr == "mpidl: MPI hangs, and what comes after it was not looked at\n"
