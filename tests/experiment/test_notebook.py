"""A run within a program: without a launcher, as often as one likes, and the same numbers as under mpirun."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mpidl import results
from tests.mpirun import environment

PROGRAM = """
import os, signal, sys
import mpidl
config = {
    "name": "cell",
    "agents": 4,
    "model": {"name": "mlp", "hidden": [4]},
    "data": {"name": "digits", "batch": 16, "split": {"name": "dirichlet-class", "alpha": 0.5}},
    "algorithm": {"name": "dsgd", "lr": 0.2},
    "graph": "ring",
    "train": {"rounds": 3, "device": "cpu"},
}
assert "mpi4py" not in sys.modules and "torch" not in sys.modules
run = mpidl.train(config, quiet=True)
assert str(run.path) == "runs/cell-s0.h5" and run.status == "finished" and run.records
try:
    mpidl.train(config)
except mpidl.errors.ConfigError as error:
    print(error)
longer = {**config, "train": {"rounds": 5, "device": "cpu"}, "checkpoint": {"every": 3}}
again = mpidl.train(longer, "second.h5", quiet=True)
print(again.metrics["round"][-1], mpidl.train(longer, "second.h5", overwrite=True).status)
import torch
print(again.build()(torch.zeros(1, *again.model().network.example_shape)).shape)
"""


@pytest.mark.mpi
def test_a_program_trains_as_often_as_it_likes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refused, rounds, shape = done.stdout.splitlines()
    assert "exists" in refused
    assert rounds == "5 finished"
    assert shape == "torch.Size([1, 10])"
    assert done.stderr.count("results in") == 1
    assert results.open(tmp_path / "second.h5").agents == 4
