"""Where nobody is left to say how a run has ended, its file says so before the launcher kills the rank that writes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from mpi4py import MPI

from mpidl import results

killed_at_once = pytest.mark.skipif(
    "Open MPI" not in MPI.Get_library_version(), reason="Hydra kills the others at once, and starts ranks by another"
)


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("fails", "failed"),
        pytest.param("leaves", "failed", marks=killed_at_once),
        pytest.param("tells mpirun to end", "interrupted", marks=killed_at_once),
    ],
)
def test_the_file_says_how_its_run_ended(
    mpirun: Callable[..., CompletedProcess[str]], tmp_path: Path, how: str, status: str
) -> None:
    path = tmp_path / "run.h5"
    done = mpirun(3, [sys.executable, "-m", "tests.comm.ending", how, str(path)], timeout=30)
    assert done.returncode != 0
    assert results.open(path).status == status
