"""Runs that are killed while they write checkpoints, and resumed on other ranks, end as one that was left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def killed(kills: int, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/resume_campaign.py", "--kills", str(kills), *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200, check=False)


@pytest.mark.full
@pytest.mark.mpi
def test_a_rank_that_is_killed_costs_nothing_in_the_end() -> None:
    campaign = killed(1, "--rounds", "200", "--within", "1")
    assert campaign.returncode == 0, campaign.stdout + campaign.stderr
    assert "| a rank | 1 | 0 |" in campaign.stdout and "is compared | 1 | 0 |" in campaign.stdout


@pytest.mark.full
@pytest.mark.mpi
def test_twelve_kills_of_ranks_and_launchers_cost_nothing_in_the_end() -> None:
    campaign = killed(12)
    assert campaign.returncode == 0, campaign.stdout + campaign.stderr
