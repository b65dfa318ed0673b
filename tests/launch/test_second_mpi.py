"""Which MPI carries the numbers does not change them."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.algorithms.test_conformance import assert_same
from tests.mpirun import ROOT

# The environment that tools/test.sh makes.
SECOND = ROOT / ".venv-mpich" / "bin" / "python"


@pytest.mark.skipif(not SECOND.exists(), reason="no .venv-mpich: tools/test.sh makes it")
@pytest.mark.skipif(sys.prefix == str(SECOND.parents[1]), reason="runs with the first MPI's Python")
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
