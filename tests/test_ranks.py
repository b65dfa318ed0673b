"""A case on ranks passes only if it passes on all of them; one that fails takes no other with it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.mpirun import ROOT

pytestmark = pytest.mark.mpi


def pytest_run(*options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False).stdout


def test_every_way_to_fail_is_reported_and_the_others_still_run():
    output = pytest_run("tests/failing_cases.py")
    outcomes = {name: outcome for outcome, name in re.findall(r"^(PASSED|FAILED) \S+?::(.+?\])", output, re.M)}
    failed = {name for name, outcome in outcomes.items() if outcome == "FAILED"}
    assert failed == {
        "test_fails_on_all[2 ranks]",
        "test_fails_on_all[3 ranks]",
        "test_fails_on_one[2 ranks]",
        "test_dies[3 ranks]",
    }
    assert len(outcomes) - len(failed) == 4
    assert "1 skipped" in output
    assert "assert comm.size == 7" in output
    assert "on rank 0 of 3 (failed on 0, 1, 2)" in output
    assert "ValueError: only here\n\non rank 1 of 2 (failed on 1)" in output
    assert "the case ended the launch" in output


def test_only_selected_cases_are_launched():
    output = pytest_run("tests/failing_cases.py", "-k", "passes and 3")
    assert "2 passed, 7 deselected" in output
