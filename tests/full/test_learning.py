"""The shipped configurations learn what they say, on real data, through the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mpidl import results
from tests.mpirun import ROOT, environment

DATA = Path(os.environ.get("MPIDL_DATA", ROOT.parent / "shared" / "data"))

pytestmark = pytest.mark.full


def need(path: str) -> Path:
    """A file of the data folder, or a skipped test."""
    if not (DATA / path).exists():
        pytest.skip(f"{DATA / path} is absent; point MPIDL_DATA at a folder that has it")
    return DATA / path


def train(config: str, output: Path, *overrides: str, root: Path = DATA, ranks: int = 2) -> results.Run:
    """A run of a shipped configuration to its end."""
    words = [f"data.root={root}", *overrides]
    command = [sys.executable, "-m", "mpidl", "run", f"configs/{config}.yaml", "-n", str(ranks), "-o", str(output)]
    for word in words:
        command += ["-s", word]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-2000:]
    return results.open(output)


def test_lenet5_reaches_89_percent_on_fashion_mnist_in_10_epochs(tmp_path):
    need("fashion_mnist")
    run = train("fashion-lenet5", tmp_path / "run.h5")
    assert run.metrics["epoch"][-1] == pytest.approx(10)
    assert run.metrics["test_accuracy_server"][-1] >= 0.89


def test_the_feddyn_network_learns_cifar10(tmp_path):
    root = tmp_path
    subprocess.run([sys.executable, need("unpack_cifar10.py"), root], check=True, timeout=300)
    run = train("cifar10-feddyn-cnn", tmp_path / "run.h5", root=root)
    assert run.metrics["test_accuracy_server"][-1] >= 0.55


@pytest.mark.parametrize("name", ["shakespeare-lstm", "shakespeare-gpt"])
def test_language_models_learn_tiny_shakespeare(name, tmp_path):
    need("tinyshakespeare/input.txt")
    losses = train(name, tmp_path / "run.h5").metrics["test_loss_consensus"]
    # The entropy of single characters is 3.3 nats, of characters given the one before 2.5.
    assert losses[0] > 4
    assert losses[-1] < 2.5


def test_logistic_regression_on_a9a_reaches_the_optimum_of_lbfgs(mpirun):
    need("libsvm/a9a")
    done = mpirun(2, [sys.executable, "-m", "tests.full.optimum", str(DATA)], timeout=900)
    assert done.returncode == 0, done.stderr
    objective_gap, parameter_gap = map(float, done.stdout.split())
    assert abs(objective_gap) <= 1e-6
    # With weight decay there is one optimum, so that its parameters can be compared as well.
    assert parameter_gap <= 1e-6
