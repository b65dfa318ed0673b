"""Ranks that are killed take their agents along, and the others go on from the round in which they are, exactly."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mpidl import results
from mpidl.launch.library import find_library
from tests.mpirun import environment

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(not find_library().shrinks, reason="this MPI ends all ranks when one dies"),
]

PLUG_IN = """
import os
import signal
from torch import nn

# Where none is named, there are no ranks.
RANK = os.environ.get("OMPI_COMM_WORLD_RANK")

class Network(nn.Module):
    def __init__(self, kills):
        super().__init__()
        self.layer, self.left = nn.Linear(64, 10), dict(kills).get(RANK)

    def forward(self, x):
        if self.left is not None:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.layer(x.flatten(1))
"""
CONFIG = """
agents: 8
seed: 2
model: {{name: "network:Network", kills: {kills}}}
data: {{name: digits, batch: 16, split: {{name: dirichlet-class, alpha: 0.3}}}}
{method}
train: {{rounds: 60, device: cpu}}
evaluate: {{every: 6}}
checkpoint: {{{checkpoint}}}
failures: {{policy: drop}}
"""
GOSSIP = """
algorithm: {name: qgm, lr: 0.1}
graph: ring
gossip: {scheme: {name: choco, gamma: 0.4}, compressor: {name: qsgd, bits: 8}}
"""
_TOLD = re.compile(
    r"died after round \d+; (\d) ranks? went on from round (\d+) with .*, without agents ([^s]*?)(?:, so|;)"
)


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    found = environment({"PYTHONPATH": f"{folder}:{environment()['PYTHONPATH']}"})
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=found, capture_output=True, text=True, timeout=120, check=False
    )


def begin(folder: Path, kills: dict[int, int], method: str = GOSSIP, checkpoint: str = "final: true") -> None:
    (folder / "network.py").write_text(PLUG_IN)
    told = json.dumps([[str(rank), calls] for rank, calls in kills.items()])
    (folder / "c.yaml").write_text(CONFIG.format(kills=told, method=method, checkpoint=checkpoint))


def run(folder: Path, ranks: int, *words: str) -> results.Run:
    done = command(folder, "-m", "mpidl", "run", "c.yaml", "-n", str(ranks), "-o", "out.h5", *words)
    assert done.returncode == 0, done.stderr
    return results.open(folder / "out.h5")


def losses(found: results.Run) -> list[tuple[int, list[int]]]:
    """The rounds from which the run went on, each with all agents that were gone by then."""
    told = [_TOLD.search(event.text) for event in found.events if event.kind == "failure"]
    matches = [match for match in told if match]
    assert len(matches) == len(told)
    spans = [[each.split("-") for each in match[3].split(", ")] for match in matches]
    return [
        (int(match[2]), [agent for span in these for agent in range(int(span[0]), int(span[-1]) + 1)])
        for match, these in zip(matches, spans, strict=True)
    ]


def assert_as_without_them(folder: Path, found: results.Run, rounds: int) -> None:
    """From the last loss on, the run has the numbers of one process that goes on without these agents from there."""
    out = folder / "expected.npz"
    done = command(folder, "-m", "tests.training.dropping", "c.yaml", str(rounds), json.dumps(losses(found)), str(out))
    assert done.returncode == 0, done.stderr
    expected = dict(np.load(out))
    model = np.concatenate([tensor.numpy().reshape(-1) for tensor in found.state_dict().values()])
    assert np.array_equal(model, expected.pop("model"))
    later = found.metrics["round"] >= expected["round"][0]
    assert later.sum() == len(expected["round"]) > 2
    for name, values in expected.items():
        assert np.array_equal(found.metrics[name][later], values, equal_nan=True), name


def test_one_rank_and_then_the_writer_of_the_file_die_and_a_resume_goes_on_without_both(tmp_path: Path) -> None:
    begin(tmp_path, {1: 40, 0: 70})
    first = run(tmp_path, 4, "-s", "checkpoint.every=60")
    assert first.status == "finished"
    (_, one), (last, both) = losses(first)
    assert (one, both) == ([2, 3], [0, 1, 2, 3])
    found = run(tmp_path, 1, "-s", "train.rounds=72", "--resume")
    assert "resumed after round 60 on 1 rank (2 before), without agents 0-3" in found.events[-2].text
    missing = np.isnan(found.metrics["test_accuracy_local"]) != np.isin(np.arange(8), both)
    assert not missing[found.metrics["round"] > last].any() and found.metrics["round"][-1] == 72
    assert_as_without_them(tmp_path, found, 72)
