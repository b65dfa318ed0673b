"""`mpidl run` from end to end, with real launches; each takes seconds, so that one test shows several things."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mpirun import environment

pytestmark = pytest.mark.mpi

PLUGIN = """
import numpy as np
from mpidl.data import Dataset

def broken(depth=1):
    raise RuntimeError("the disk\\nis gone")

def growing():
    x = np.full((64, 3), 1e3, dtype=np.float32)
    return Dataset(x, np.arange(64, dtype=np.float32)[:, None], x[:8], np.zeros((8, 1), np.float32), task="regression")
"""

BESIDE = """
import networkx

def ring(agents):
    return networkx.cycle_graph(agents)
"""


def mpidl(*words: str, timeout: float = 120, **extra: str) -> subprocess.CompletedProcess[str]:
    """A command, with these variables in its environment, too."""
    return subprocess.run(
        [sys.executable, "-m", "mpidl", *words],
        capture_output=True,
        text=True,
        env=environment(extra),
        timeout=timeout,
        check=False,
    )


def status(path: Path) -> str:
    from mpidl import results

    return results.open(path).status


def records(path: Path) -> int:
    from mpidl import results

    return results.open(path).records


def test_a_run_leaves_its_file_and_the_next_one_keeps_it(folder: Path) -> None:
    from mpidl import results

    done = mpidl("run", "small.yaml", "-n", "2")
    assert done.returncode == 0, done.stderr
    output = folder / "runs" / "small-s3.h5"
    run = results.open(output)
    assert run.records == 3
    assert all(run.units(name) and run.description(name) for name in run.metrics)
    assert "runs/small-s3.h5" in done.stderr
    before = output.read_bytes()
    again = mpidl("run", "small.yaml", "-n", "2")
    assert again.returncode == 2 and "exists" in again.stderr
    assert output.read_bytes() == before


def test_warnings_stay_in_the_run_file_and_verbose_tells_how_rows_travel(folder: Path) -> None:
    from mpidl import results

    done = mpidl("run", "small.yaml", "-n", "2", "-v", "-s", "data.split={name: one-class}", "-o", "out.h5")
    assert done.returncode == 0, done.stderr
    assert "parameters travel by: shared memory" in done.stderr
    warning = "no agent holds classes 4, 5, 6, 7, 8 and 1 more: there are fewer agents than classes"
    assert " ".join(done.stderr.split()).count(warning) == 1
    assert max(map(len, done.stderr.splitlines())) <= 80
    assert [(event.kind, event.text) for event in results.open(folder / "out.h5").events] == [("warning", warning)]


def test_a_dry_run_prints_the_command_and_the_needs_and_runs_nothing(folder: Path) -> None:
    done = mpidl("run", "small.yaml", "-n", "3", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert " -n 3 " in done.stdout and "mpidl run small.yaml" in done.stdout
    assert "parameters          650\n" in done.stdout and "none within a node" in done.stdout
    assert done.stdout.endswith(
        "rows sent           deg by an agent in a round\ngradients           H of an agent in a round\n"
    )
    federated = mpidl(
        "run", "small.yaml", "-n", "3", "--dry-run", "-s", "algorithm={name: csgd, rho: 0.1}", "-s", "graph=null"
    )
    assert "while a sum over agents is made" in federated.stdout, federated.stderr
    assert "1 up, 1 down by an agent in a round\ngradients           2 of an agent" in federated.stdout
    assert [path.name for path in folder.iterdir()] == ["small.yaml"]


def test_a_plug_in_that_raises_ends_all_ranks_with_one_line(folder: Path) -> None:
    (folder / "own.py").write_text(PLUGIN)
    done = mpidl("run", "small.yaml", "-n", "2", "-s", "data={name: own:broken, batch: 4}", "-o", "out.h5")
    assert done.returncode == 2, done.stderr
    begun, loading, last = done.stderr.splitlines()
    assert (begun, loading) == ("starting 2 ranks…", "loading own:broken…")
    assert last.startswith("mpidl: all 2 ranks: ") and "own:broken" in last and "the disk is gone" in last
    assert not list(folder.glob("out*"))


def test_a_folder_named_mpidl_and_no_home_are_no_hindrance(folder: Path) -> None:
    (folder / "mpidl").mkdir()
    (folder / "mpidl" / "__init__.py").write_text("raise RuntimeError('not this one')")
    (folder / "beside.py").write_text(BESIDE)
    found = environment()
    del found["HOME"]
    # As the installed command does, this does not look in the current folder.
    command = [sys.executable, "-P", "-m", "mpidl", "run", "small.yaml", "-n", "2", "-s", "graph=beside:ring"]
    done = subprocess.run(command, capture_output=True, text=True, env=found, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert records(folder / "runs" / "small-s3.h5") == 3


def test_an_output_that_only_the_attempt_shows_to_be_unwritable_is_one_last_line(folder: Path) -> None:
    done = mpidl("run", "small.yaml", "-n", "2", "-o", "/proc/nowhere/out.h5")
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("mpidl: ")
    assert "/proc/nowhere/out.h5" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_divergence_is_told_with_agent_and_round_and_keeps_the_file(folder: Path) -> None:
    (folder / "own.py").write_text(PLUGIN)
    words = ["-s", "data={name: own:growing, batch: 4}", "-s", "algorithm.lr=1e6", "-s", "train.rounds=200"]
    done = mpidl("run", "small.yaml", "-n", "2", *words, "-o", "out.h5")
    assert done.returncode == 3, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("mpidl: ") and "agent" in last and "round" in last
    assert "prterun" not in done.stderr and "Traceback" not in done.stderr
    assert records(folder / "out.h5") >= 1


def test_under_mpirun_it_is_a_rank_and_one_rank_speaks(folder: Path, mpirun) -> None:
    command = [sys.executable, "-m", "mpidl", "run", str(folder / "small.yaml")]
    done = mpirun(2, [*command, "-o", str(folder / "out.h5")], timeout=120)
    assert done.returncode == 0, done.stderr
    assert records(folder / "out.h5") == 3
    wrong = mpirun(2, [*command, "-s", "algorithm.lrr=1"], timeout=120)
    assert wrong.returncode == 2
    assert wrong.stderr.count("did you mean 'lr'?") == 1


def test_ranks_that_were_given_two_configurations_train_nothing(folder: Path, mpirun) -> None:
    command = [sys.executable, "-m", "mpidl", "run", str(folder / "small.yaml"), "-o", str(folder / "out.h5")]
    done = mpirun(1, [*command, ":", "-n", "1", *command, "-s", "algorithm.lr=5", "-s", "train.rounds=9"], timeout=120)
    assert done.returncode == 5, done.stderr
    assert "algorithm.lr is 0.1 on the one and 5.0 on the other" in done.stderr
    assert "train.rounds is 4 on the one and 9 on the other" in done.stderr
    assert not list(folder.glob("out*"))


def test_ranks_train_what_was_announced_though_the_file_is_changed_meanwhile(folder: Path) -> None:
    # Read by the launching process and by every rank; the former is the first to import it.
    (folder / "own.py").write_text(
        """
import os
from pathlib import Path
from mpidl.data.digits import Digits

if "MPIDL_LAUNCHED" not in os.environ:
    Path("small.yaml").write_text("changed: meanwhile")

def data(batch=16):
    return Digits(name="digits").load()
"""
    )
    done = mpidl("run", "small.yaml", "-n", "2", "-s", "data={name: own:data, batch: 8}", "-o", "out.h5")
    assert done.returncode == 0, done.stderr
    assert (folder / "small.yaml").read_text() == "changed: meanwhile"
    assert records(folder / "out.h5") == 3
