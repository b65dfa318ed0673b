"""A sweep that is killed, stopped and said again: nothing is trained twice, and all runs are as if started alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mpidl import results
from tests.cli.conftest import CONFIG
from tests.mpirun import environment
from tests.training.resumed import assert_alike

pytestmark = [pytest.mark.full, pytest.mark.mpi]

LENGTH = ["-s", "train.rounds=600", "-s", "evaluate.every=20", "-s", "checkpoint.every=100"]
SWEEP = ["sweep", "small.yaml", "-n", "2", "-s", "seed=1:4", *LENGTH, "-o", "out"]


def start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mpidl", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())


def status(seed: int) -> str:
    path = Path(f"out/seed={seed}.h5")
    return results.open(path).status if path.exists() else ""


def has_checkpoint(seed: int) -> bool:
    return any(Path("out", f"seed={seed}.ckpt").glob("round-*[0-9]"))


def sent(number: int, process: subprocess.Popen[str], when: Callable[[], bool]) -> str:
    """What a sweep says that gets this signal then."""
    deadline = time.monotonic() + 120
    while not when():
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


def updated() -> dict[str, str]:
    return {path.name: run.updated for path in Path("out").glob("*.h5") if (run := results.open(path)).records}


def test_a_sweep_that_is_killed_and_stopped_and_said_again_trains_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(CONFIG)
    sent(signal.SIGKILL, start(*SWEEP), lambda: status(1) == "finished" and has_checkpoint(2))
    # Its ranks end by themselves, within seconds.
    deadline = time.monotonic() + 30
    while status(2) == "running" and not results.open("out/seed=2.h5").abandoned:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first = updated()
    said = sent(signal.SIGINT, start(*SWEEP, "--at-once", "2"), lambda: has_checkpoint(3))
    assert said.splitlines()[-1].startswith("mpidl: stopped ") and "the same command goes on" in said, said
    assert updated()["seed=1.h5"] == first["seed=1.h5"]
    second = {name for name in updated() if results.open(f"out/{name}").status == "finished"}
    before = updated()
    last = start(*SWEEP, "--at-once", "3")
    _, said = last.communicate(timeout=500)
    assert last.returncode == 0 and "4 finished; results in out" in said, said
    assert {name for name, moment in updated().items() if before.get(name) == moment} == second
    resumed = [any(event.kind == "resume" for event in results.open(f"out/seed={n}.h5").events) for n in (1, 2, 3)]
    assert resumed == [False, True, True]
    for seed in (2, 3):
        alone = start("run", "small.yaml", "-n", "1", "-s", f"seed={seed}", *LENGTH, "-o", f"alone-{seed}.h5")
        assert alone.wait(300) == 0, alone.communicate()
        assert_alike(Path(f"out/seed={seed}.h5"), Path(f"alone-{seed}.h5"))
    leftovers = [path for path in Path("out").iterdir() if path.suffix not in (".h5", ".ckpt", ".lock")]
    assert not leftovers and not [each for each in Path("/proc").iterdir() if _works_in(each, tmp_path)]


def _works_in(entry: Path, folder: Path) -> bool:
    """Whether this is another process, and its current folder is this one."""
    try:
        return entry.name.isdigit() and (entry / "cwd").readlink() == folder and int(entry.name) != os.getpid()
    except OSError:
        return False
