"""Runs whose ranks are killed come to their end without them, and as one that was left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mpidl.launch.library import find_library

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(not find_library().shrinks, reason="this MPI ends all ranks when one dies"),
]


def killed(runs: int, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/death_campaign.py", "--runs", str(runs), *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200, check=False)


def test_a_run_whose_rank_is_killed_goes_on_without_it_to_the_same_bits() -> None:
    campaign = killed(2, "--rounds", "150", "--within", "1")
    assert campaign.returncode == 0, campaign.stdout + campaign.stderr
    assert "| a rank | 1 | 1 |" in campaign.stdout
    assert "| a rank; copies in memory | 1 | 1 |" in campaign.stdout


@pytest.mark.full
def test_one_rank_two_at_once_and_one_more_while_the_others_recover() -> None:
    campaign = killed(10, "--rounds", "200")
    assert campaign.returncode == 0, campaign.stdout + campaign.stderr
