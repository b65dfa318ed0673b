"""The launches of a sweep: who is blamed, when there is another, and when no more; the launcher is a stand-in."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from mpidl.cli.main import commands
from mpidl.experiment.schema import load
from mpidl.experiment.sweep.member import Member, Report, Standing
from mpidl.launch.launcher import Launcher
from mpidl.launch.library import parse_library
from mpidl.launch.sweep import Sweep
from tests.cli.conftest import CONFIG

# In place of mpirun and its ranks: takes runs as they do, and tells of them.
LAUNCHER = """
import json, os, signal, sys, time
from pathlib import Path
from mpidl.experiment.sweep.handed import Handed
from mpidl.launch.received import received_configuration

handed = Handed.unpacked(received_configuration())

def tell(number, standing, **more):
    words = json.dumps({"member": number, "standing": standing, **more}).encode()
    os.write(1, b"\\x1e" + words + b"\\n")

def fail(line, code):
    Path(os.environ["MPIDL_FAILURE_FILE"]).write_text(json.dumps({"line": line, "exit_code": code}))
    sys.exit(code)

"""
WELL = """
for place in handed.taken():
    tell(handed.number(place), "RUNNING")
    tell(handed.number(place), "FINISHED", accuracy=handed.before)
"""


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[tuple[str, int], list[Report]]]:
    """Runs a sweep of so many runs with this launcher; returns how it ended, and all that was told of runs."""
    (tmp_path / "small.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    launcher, library = tmp_path / "launcher", parse_library("MPICH Version: 4.2", [])
    found = library, Launcher(str(launcher), "mpich")
    config = load("small.yaml")

    def run(program: str, runs: int = 3, at_once: int = 1) -> tuple[tuple[str, int], list[Report]]:
        launcher.write_text(f"#!{sys.executable}\n{LAUNCHER}{program}")
        launcher.chmod(0o755)
        members = [Member(number, str(number), config, tmp_path / f"{number}.h5", 2) for number in range(runs)]
        told: list[Report] = []
        sweep = Sweep([members], ["program"], at_once, told.append, lambda data: None, lambda: None, lambda: found)
        ending = sweep.run()
        return ending, [report for report in told if report.standing is not Standing.RUNNING]

    return run


def test_runs_that_ranks_have_not_begun_get_others_and_the_one_they_died_at_is_blamed(sweep: Callable) -> None:
    dies = 'if handed.number(0) == 0:\n    tell(0, "RUNNING")\n    fail("mpidl: rank 1 on here: boo", 5)\n'
    ending, told = sweep(dies + WELL)
    assert ending == ("", 0)
    assert [(report.member, report.standing, report.sentence, report.code) for report in told] == [
        (0, Standing.FAILED, "rank 1 on here: boo", 5),
        (1, Standing.FINISHED, "", 0),
        (2, Standing.FINISHED, "", 0),
    ]


def test_ranks_that_die_between_two_runs_are_replaced_and_those_that_begin_none_are_not(sweep: Callable) -> None:
    dies = 'if handed.number(0) == 0:\n    tell(0, "RUNNING")\n    tell(0, "FINISHED")\n    sys.exit(9)\n'
    ending, told = sweep(dies + WELL)
    assert ending == ("", 0) and [report.member for report in told] == [0, 1, 2]
    ending, told = sweep('fail("mpidl: no", 2)')
    assert (ending, told) == (("mpidl: no", 2), [])


def test_a_run_that_diverges_on_one_rank_alone_has_diverged(sweep: Callable) -> None:
    _, told = sweep('tell(0, "RUNNING")\nfail("mpidl: rank 0 on here: infinite", 3)', runs=1)
    assert [(report.standing, report.code) for report in told] == [(Standing.DIVERGED, 3)]


def test_launches_beside_each_other_take_each_run_once_and_have_gpus_of_their_own(sweep: Callable) -> None:
    ending, told = sweep(WELL.replace("    tell", "    time.sleep(0.1); tell"), 6, 3)
    assert ending == ("", 0) and sorted(report.member for report in told) == [*range(6)]
    assert {report.accuracy for report in told} <= {0, 2, 4}


def test_who_interrupts_ends_it_and_no_more_is_started(sweep: Callable) -> None:
    program = 'tell(0, "RUNNING")\nos.kill(os.getppid(), signal.SIGINT)\ntime.sleep(60)'
    ending, told = sweep(program)
    assert ending == ("mpidl: interrupted", 130)
    assert [(report.member, report.standing) for report in told] == [(0, Standing.STOPPED)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_wish_to_stop_that_comes_while_runs_are_checked_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checked(found: list[Member], inputs: bool) -> list[Member]:
        os.kill(os.getpid(), signal.SIGUSR2)
        return found

    (tmp_path / "small.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mpidl.experiment.sweep.members.checked", checked)
    words = ["sweep", "small.yaml", "-s", "seed=1:2", "-n", "2", "-o", "out"]
    result = CliRunner().invoke(commands, words, standalone_mode=False)
    assert (result.return_value, result.stderr.splitlines()[-1]) == (
        75,
        "mpidl: stopped while no run was under way; the same command goes on from there",
    )


def test_what_is_no_report_is_not_taken_for_one(sweep: Callable) -> None:
    ending, told = sweep('os.write(1, b"\\x1enothing\\n")\n' + WELL, runs=1)
    assert ending == ("", 0) and len(told) == 1
