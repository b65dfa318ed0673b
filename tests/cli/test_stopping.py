"""`mpidl run` and signals: a run that is asked to end does so after a checkpoint, and goes on exactly from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpidl import results
from mpidl.results.checkpoints.folder import CheckpointFolder
from tests.mpirun import environment
from tests.training.resumed import assert_alike, told

pytestmark = pytest.mark.mpi

SLOW = """
import time
from torch.nn.functional import cross_entropy

def loss(module, x, y, seconds):
    time.sleep(seconds)
    return cross_entropy(module(x), y, reduction="none")
"""


def start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mpidl", "run", "small.yaml", "-o", "out.h5", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())


def told_once_it_trains(output: Path, numbers: list[int], *words: str) -> tuple[int, str]:
    """The exit code and the words of a run that gets these signals once it has made a record."""
    before = results.open(output).records if output.exists() else 0
    process = start(*words)
    try:
        deadline = time.monotonic() + 90
        while not output.exists() or results.open(output).records <= before:
            assert time.monotonic() < deadline and process.poll() is None, process.communicate()
            time.sleep(0.1)
        for number in numbers:
            process.send_signal(number)
            # Two signals at once are one.
            time.sleep(0.1)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, err


def test_every_way_to_ask_for_an_end_leaves_a_checkpoint_from_which_the_run_goes_on_exactly(folder: Path) -> None:
    output, rounds = folder / "out.h5", 0
    (folder / "own.py").write_text(SLOW)
    # Slow, so that few rounds come before a signal.
    often = ["-s", "loss={name: own:loss, seconds: 0.01}", "-s", "evaluate.every=5"]
    endless = ["-s", "train.rounds=1000000", *often, "--resume"]
    for number, ranks in ((signal.SIGUSR2, 3), (signal.SIGTERM, 2), (signal.SIGINT, 4), (None, 2)):
        if number is None:
            process = start("-n", str(ranks), *endless, "-s", "train.walltime=10 s")
            err, code = process.communicate(timeout=90)[1], process.wait()
        else:
            code, err = told_once_it_trains(output, [number], "-n", str(ranks), *endless)
        last = err.splitlines()[-1]
        assert code == 75, last
        before, rounds = rounds, CheckpointFolder(output).rounds()[0]
        assert last == f"mpidl: stopped after round {rounds} of 1000000; --resume goes on from there"
        assert rounds > before and results.open(output).status == "interrupted"
    assert [entry for entry in Path("/proc").iterdir() if _works_in(entry, folder)] == []
    rounds += 7
    shorter = ["-s", f"train.rounds={rounds}", *often]
    done = start("-n", "2", *shorter, "--resume", "--allow-changes", "train.rounds")
    assert done.wait(120) == 0, done.communicate()
    # Waiting changes no number, and nobody stops this one.
    at_once = ["-s", "loss={name: own:loss, seconds: 0}"]
    whole = start("-n", "1", *shorter, *at_once, "-o", "whole.h5")
    assert whole.wait(240) == 0, whole.communicate()
    assert sum(text.startswith("resumed after round") for text in told(output)) == 4
    assert_alike(output, folder / "whole.h5")
    assert {path.name for path in folder.glob("*.*")} == {"out.ckpt", "out.h5", "own.py", "small.yaml", "whole.h5"}


def test_who_asks_twice_does_not_wait_for_the_round_and_loses_no_record_that_was_printed(folder: Path) -> None:
    (folder / "own.py").write_text(SLOW)
    slow = [
        "-n",
        "2",
        "-s",
        "loss={name: own:loss, seconds: 0.25}",
        "-s",
        "train.rounds=1000",
        "-s",
        "evaluate.every=1",
    ]
    code, err = told_once_it_trains(folder / "out.h5", [signal.SIGINT, signal.SIGINT], *slow)
    assert (code, err.splitlines()[-1]) == (130, "mpidl: interrupted")
    run = results.open(folder / "out.h5")
    printed = [
        int(line.split("/")[0].removeprefix("round ").replace(",", ""))
        for line in err.splitlines()
        if line.startswith("round")
    ]
    assert printed and run.metrics["round"][-1] >= printed[-1] and run.status == "interrupted"
    assert not CheckpointFolder(folder / "out.h5").path.exists()


def _works_in(entry: Path, folder: Path) -> bool:
    """Whether this is another process, and its current folder is this one."""
    try:
        return entry.name.isdigit() and (entry / "cwd").readlink() == folder and int(entry.name) != os.getpid()
    except OSError:
        return False
