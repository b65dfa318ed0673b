"""Ranks that are killed take their agents along: two at once, the writer alone, with few copies, without a graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpidl.launch.library import find_library
from mpidl.results.checkpoints.folder import CheckpointFolder
from tests.training.test_dropped_ranks import assert_as_without_them, begin, command, losses, run

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.full,
    pytest.mark.skipif(not find_library().shrinks, reason="this MPI ends all ranks when one dies"),
]

SCAFFOLD = "algorithm: {name: scaffold, lr: 0.1, participation: 0.5, local_steps: 3}"
TRACKING = "algorithm: {name: gradient-tracking, lr: 0.05}\ngraph: one-peer-matching"
PUSH = "algorithm: {name: sgp, lr: 0.1}\ngraph: directed-ring"


@pytest.mark.parametrize(
    ("method", "kills"),
    [(SCAFFOLD, {0: 60}), (TRACKING, {2: 45}), (PUSH, {1: 40, 2: 40})],
    ids=["scaffold", "gradient-tracking", "sgp"],
)
def test_the_others_go_on_exactly(method: str, kills: dict[int, int], tmp_path: Path) -> None:
    begin(tmp_path, kills, method)
    found = run(tmp_path, 4)
    ((round_, gone), *_) = losses(found)
    assert round_ and gone
    assert_as_without_them(tmp_path, found, 60)


def test_with_a_copy_now_and_then_rounds_since_are_done_again_and_later_checkpoints_go(tmp_path: Path) -> None:
    begin(tmp_path, {3: 75}, checkpoint="memory: 10, every: 4, keep: 20")
    found = run(tmp_path, 4)
    ((round_, gone),) = losses(found)
    assert (round_ % 10, gone) == (0, [6, 7]) and "done again" in found.events[0].text
    assert CheckpointFolder(tmp_path / "out.h5").rounds()[:2] == [60, 56]
    assert_as_without_them(tmp_path, found, 60)


def test_a_death_before_the_first_copy_begins_anew_without_its_agents(tmp_path: Path) -> None:
    begin(tmp_path, {1: 25}, checkpoint="memory: 50")
    found = run(tmp_path, 4)
    assert [(round_, gone) for round_, gone in losses(found)] == [(0, [2, 3])]
    assert np.isnan(found.metrics["test_accuracy_local"][0]).nonzero()[0].tolist() == [2, 3]


def test_one_more_than_may_die_ends_the_run_with_one_sentence(tmp_path: Path) -> None:
    begin(tmp_path, {1: 40, 2: 60})
    words = ("-m", "mpidl", "run", "c.yaml", "-n", "4", "-o", "out.h5", "-s", "failures.max=1")
    done = command(tmp_path, *words)
    assert done.returncode == 5, done.stderr
    assert "rank 2 on" in done.stderr and ", the last of 2 to die, and 1 may (failures)" in done.stderr
