"""Ranks that are frozen, that leave without MPI's noticing, or that die with those who keep a copy of their state."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mpidl import results
from mpidl.launch.library import find_library
from tests.mpirun import environment
from tests.training.resumed import assert_alike

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.full,
    pytest.mark.skipif(not find_library().shrinks, reason="this MPI ends all ranks when one dies"),
]

PLUG_IN = """
import os
import signal
from pathlib import Path
from torch import nn

RANK = os.environ.get("OMPI_COMM_WORLD_RANK")

class Network(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.layer, self.how, self.calls = nn.Linear(64, 10), how, 0
        Path(f"process-{RANK}").write_text(str(os.getpid()))

    def forward(self, x):
        self.calls += 1
        if RANK == "1" and self.calls >= 60:
            if self.how == "pair" and list(Path().glob("out.ckpt/round-?????????")):
                os.kill(int(Path("process-2").read_text()), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "stop" and self.calls == 60:
                os.kill(os.getpid(), signal.SIGSTOP)
            if self.how == "leave":
                os._exit(7)
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


def run(folder: Path, how: str, policy: str, ranks: int = 3, **more: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    (folder / "network.py").write_text(PLUG_IN)
    (folder / "c.yaml").write_text(CONFIG.format(how=how, policy=policy))
    settings = [word for key, value in more.items() for word in ("-s", f"{key.replace('__', '.')}={value}")]
    command = [sys.executable, "-m", "mpidl", "run", "c.yaml", "-n", str(ranks), "-o", "out.h5", *settings]
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


def test_a_rank_that_dies_with_the_keeper_of_its_copy_is_taken_over_from_the_newest_checkpoint(tmp_path: Path) -> None:
    settings = {"train__rounds": "400", "checkpoint__memory": "3", "checkpoint__every": "7"}
    whole, done = (run(tmp_path / how, how, "adopt", 4, **settings) for how in ("never", "pair"))
    assert whole.returncode == done.returncode == 0, whole.stderr + done.stderr
    expected, found = (results.open(tmp_path / how / "out.h5") for how in ("never", "pair"))
    (text,) = (event.text for event in found.events if event.kind == "failure")
    assert "rank 1 on" in text and "rank 2 on" in text and "2 ranks went on from round" in text
    assert re.search(r"since copies of round \d+ in memory died with those who kept them", text)
    (round_,) = re.findall(r"went on from round (\d+)", text)
    assert int(round_) and int(round_) % 7 == 0
    assert_alike(found.path, expected.path)
    assert torch.equal(found.state_dict("consensus")["layer.weight"], expected.state_dict("consensus")["layer.weight"])
