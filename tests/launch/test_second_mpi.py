"""Which MPI carries the numbers does not change them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.algorithms.test_conformance import assert_same
from tests.mpirun import ROOT, environment, mpirun_command
from tests.training.resumed import assert_alike

# The environment that tools/test.sh makes.
SECOND = ROOT / ".venv-mpich" / "bin" / "python"

pytestmark = [
    pytest.mark.skipif(not SECOND.exists(), reason="no .venv-mpich: tools/test.sh makes it"),
    pytest.mark.skipif(sys.prefix == str(SECOND.parents[1]), reason="runs with the first MPI's Python"),
]


@pytest.mark.full
def test_training_leaves_the_same_bits_under_mpich(mpirun, tmp_path: Path) -> None:
    def trained(python: str) -> Any:
        path = tmp_path / "outcomes"
        done = mpirun(3, [python, "-m", "tests.launch.trained", str(path)], timeout=300)
        assert done.returncode == 0, done.stderr
        return pickle.loads(path.read_bytes())

    library, versions, outcomes = trained(sys.executable)
    second, second_versions, second_outcomes = trained(str(SECOND))
    assert "MPICH" in second
    if library == second:
        pytest.skip(f"the first MPI is {library}, too")
    assert second_versions == versions
    assert second_outcomes.keys() == outcomes.keys() and len(outcomes) > 10
    for name, outcome in outcomes.items():
        assert_same(outcome, second_outcomes[name], f"{name}: {library} against {second}")


@pytest.mark.parametrize("mistake", [[], ["-s", "train.dvice=cpu"]], ids=["none", "a key"])
def test_mpirun_of_open_mpi_with_an_mpi4py_on_mpich_ends_in_one_sentence(mistake: list[str], tmp_path: Path) -> None:
    launcher = mpirun_command(sys.executable)
    if launcher[1:] == ():
        pytest.skip("mpirun is not that of Open MPI")
    command = [*launcher, "-n", "2", str(SECOND), "-m", "mpidl", "run", "c.yaml", *mistake]
    text = "{agents: 4, data: digits, model: mlp, graph: ring, algorithm: {name: dsgd, lr: 0.1}, train: {rounds: 2}}"
    (tmp_path / "c.yaml").write_text(text)
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if line.startswith("mpidl: ")]
    assert done.returncode == 2 and len(said) == 1 and "error stack" not in done.stderr
    assert ("'dvice' is not known" if mistake else "mpirun of Open MPI started 2 processes") in said[0]


@pytest.mark.full
@pytest.mark.mpi
@pytest.mark.parametrize(
    "keys",
    [
        ["algorithm={name: dsgd, lr: 0.1, momentum: 0.9}", "graph=ring"],
        [
            "algorithm={name: dsgd, lr: 0.1}",
            "graph=one-peer-matching",
            "gossip={scheme: {name: choco, gamma: 0.3}, compressor: sign}",
        ],
        ["algorithm={name: feddyn, lr: 0.1, participation: 0.5, local_steps: 2}"],
    ],
    ids=["dsgd", "choco", "feddyn"],
)
def test_a_run_goes_on_under_the_other_mpi_and_back_again(keys: list[str], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("{agents: 6, data: {name: digits, batch: 8}, model: {name: mlp, hidden: [8]}}")

    def train(python: str, ranks: int, rounds: int, output: str) -> None:
        # Where it ends, a run would keep a model, also one that becomes longer.
        words = [
            f"train={{rounds: {rounds}, device: cpu}}",
            "evaluate.every=4",
            "checkpoint={every: 8, final: false}",
            *keys,
        ]
        settings = [part for word in words for part in ("-s", word)]
        command = [python, "-m", "mpidl", "run", "c.yaml", "-n", str(ranks), "-o", output, "--resume", *settings]
        done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr

    train(sys.executable, 3, 20, "whole.h5")
    train(sys.executable, 3, 8, "out.h5")
    train(str(SECOND), 2, 16, "out.h5")
    train(sys.executable, 4, 20, "out.h5")
    assert_alike(tmp_path / "out.h5", tmp_path / "whole.h5")
