"""Many rounds with ranks held up at random: nobody waits for ever, and no round is taken for another."""

from __future__ import annotations

import sys

import pytest

from tests.comm.soaking import WAYS, soak
from tests.ranks import on_ranks


@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("kind", ["ring", "periodic", "directed", "drawn"])
@on_ranks(4)
def test_200_rounds_with_ranks_held_up(comm, kind, way):
    soak(comm, kind, way, 200)


@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("kind", ["ring", "periodic", "drawn"])
@on_ranks(4)
def test_100_rounds_from_three_blocks_with_ranks_held_up(comm, kind, way):
    soak(comm, kind, way, 100, blocks=3)


@pytest.mark.full
def test_10000_rounds_with_ranks_held_up(mpirun):
    # Ten times as long as on two cores that do nothing else.
    done = mpirun(4, [sys.executable, "-m", "tests.comm.soaking", "10000", "ring", "drawn"], timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("10000 rounds of") == 2 * len(WAYS)
