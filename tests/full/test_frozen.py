"""Ranks that are frozen, or that leave without MPI's noticing: named in time, and no run waits for them for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mpidl import results
from mpidl.launch.library import find_library
from tests.mpirun import environment

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.full,
    pytest.mark.skipif(not find_library().shrinks, reason="this MPI ends all ranks when one dies"),
]

PLUG_IN = """
import os
import signal
from torch import nn

class Network(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.layer, self.how, self.calls = nn.Linear(64, 10), how, 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 60 and os.environ["OMPI_COMM_WORLD_RANK"] == "1":
            os.kill(os.getpid(), signal.SIGSTOP) if self.how == "stop" else os._exit(7)
        return self.layer(x.flatten(1))
"""
CONFIG = """
model: {{name: "network:Network", how: {how}}}
data: {{name: digits, batch: 16}}
algorithm: {{name: dsgd, lr: 0.05}}
graph: ring
train: {{rounds: 100, device: cpu}}
evaluate: {{every: 50}}
failures: {{timeout: 3 s, policy: {policy}}}
"""


def run(folder: Path, how: str, policy: str) -> subprocess.CompletedProcess[str]:
    (folder / "network.py").write_text(PLUG_IN)
    (folder / "c.yaml").write_text(CONFIG.format(how=how, policy=policy))
    command = [sys.executable, "-m", "mpidl", "run", "c.yaml", "-n", "3", "-o", "out.h5"]
    found = environment({"PYTHONPATH": f"{folder}:{environment()['PYTHONPATH']}"})
    return subprocess.run(command, cwd=folder, env=found, capture_output=True, text=True, timeout=120, check=False)


def test_a_frozen_rank_is_named_and_ended_and_the_others_go_on(tmp_path: Path) -> None:
    done = run(tmp_path, "stop", "adopt")
    assert done.returncode == 0, done.stderr
    assert "rank 1 on" in done.stderr and "has not been heard of for" in done.stderr
    found = results.open(tmp_path / "out.h5")
    assert found.status == "finished" and [event.kind for event in found.events].count("failure") == 1


def test_a_frozen_rank_ends_the_run_where_no_rank_may_die(tmp_path: Path) -> None:
    done = run(tmp_path, "stop", "abort")
    assert done.returncode == 5, done.stderr
    assert "rank 1 on" in done.stderr.splitlines()[-1] and "has not been heard of for" in done.stderr.splitlines()[-1]


def test_a_rank_that_leaves_without_a_word_ends_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, "leave", "adopt")
    assert done.returncode == 5, done.stderr
    assert "rank 1 on" in done.stderr.splitlines()[-1] and "ended before its work was done" in done.stderr
