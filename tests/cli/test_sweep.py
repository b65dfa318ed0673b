"""`mpidl sweep` from end to end: one launch for many runs, another where ranks have died, and only what is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mpidl import results
from tests.cli.test_run import mpidl
from tests.training.resumed import assert_alike

pytestmark = pytest.mark.mpi

OWN = """
import os, signal
from pathlib import Path
from torch.nn.functional import cross_entropy

calls = 0

def loss(module, x, y, how="well"):
    global calls
    calls += 1
    if how == "once" and calls > 60 and not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    values = cross_entropy(module(x), y, reduction="none")
    return values * float("nan") if how == "badly" else values
"""
LOSSES = "loss={name: 'own:loss', how: badly},{name: 'own:loss', how: once},{name: 'own:loss'}"
LENGTH = ["-s", "train.rounds=60", "-s", "checkpoint.every=5"]


def test_what_fails_is_marked_the_others_finish_with_their_own_bits_and_a_repetition_does_what_is_missing(
    folder: Path,
) -> None:
    (folder / "own.py").write_text(OWN)
    words = ["sweep", "small.yaml", "-n", "2", "-s", LOSSES, *LENGTH, "-o", "out"]
    done = mpidl(*words)
    assert done.returncode == 3, done.stderr
    assert "1 finished, 1 diverged, 1 failed; results in out" in done.stderr
    assert re.search(r"how-badly-\S+: the loss of agent 0 stopped being finite in round 1;", done.stderr)
    assert re.search(r"how-once-\S+: rank \d on \S+ was ended by SIGKILL\n", done.stderr)
    before = {path.name: results.open(path) for path in sorted(Path("out").glob("*.h5"))}
    assert [run.status for run in before.values()] == ["diverged", "failed", "finished"]
    again = mpidl(*words)
    assert again.returncode == 3 and "2 finished, 1 diverged; results in out" in again.stderr, again.stderr
    after = {name: results.open(Path("out", name)) for name in before}
    assert [run.status for run in after.values()] == ["diverged", "finished", "finished"]
    # Only what was missing has been trained.
    assert [before[name].updated == run.updated for name, run in after.items()] == [True, False, True]
    _, resumed, whole = after.values()
    assert any(event.text.startswith("resumed after round ") for event in resumed.events)
    # A rank without others, and without a launcher.
    alone = mpidl("run", "small.yaml", "-s", "loss=own:loss", *LENGTH, "-o", "alone.h5", MPIDL_LAUNCHED="1")
    assert alone.returncode == 0, alone.stderr
    for run in (resumed, whole):
        assert_alike(run.path, Path("alone.h5"))
    assert not [path for path in Path("out").iterdir() if path.suffix not in (".h5", ".ckpt")]


def test_ranks_that_a_launcher_has_started_are_refused_before_mpi_starts(
    folder: Path, mpirun: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = mpirun(2, [sys.executable, "-m", "mpidl", "sweep", "small.yaml", "-s", "seed=1:2"])
    assert done.returncode == 2
    sentence = "mpidl: mpidl sweep starts its ranks itself: leave mpirun or srun out, and say -n how many"
    # Hydra lets the others go on, and so each of them says it.
    assert 1 <= (done.stdout + done.stderr).count(sentence) <= 2 and "MPI_ABORT" not in done.stderr
