"""State beyond a budget lies in a file that nobody sees, and is the same as in main memory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from mpidl.errors import ExitCode, SaveError
from mpidl.rows import room
from mpidl.spill import Spill
from mpidl.state import State

PARAMETERS = 1000
ROW = room(1, PARAMETERS, torch.float64)


def declared(spill: Spill | None) -> State:
    return State(range(8), 8, PARAMETERS, torch.float64, "cpu", spill)


def in_files(folder: Path) -> int:
    """Parts of this process's memory that lie in files of the folder without a name."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return sum(str(folder) in line and line.endswith("(deleted)") for line in maps)


@pytest.mark.parametrize("budget", [0, 3 * ROW])
def test_items_beyond_the_budget_are_as_in_main_memory(tmp_path, budget):
    folder = tmp_path / "state"
    spilled, whole = declared(Spill(budget, folder)), declared(None)
    for state in (spilled, whole):
        rows, factors = state.lazy_rows("corrections", 0.5), state.lazy_factors("basis", (3, 5))
        for agent in (3, 1, 0, 7, 5):
            rows[agent].add_(agent)
            factors[agent].sub_(agent)
        # What another rank takes over leaves room that is used again.
        arrived = rows.release(1)
        assert 1 not in rows and bool((arrived == 1.5).all())
        assert bool((rows[6] == 0.5).all()), "a row in used memory starts as any other"
        rows.adopt(2, arrived)
        rows[6].mul_(3)
        assert bool((arrived == 1.5).all())
    for (one, ids, values), (_, expected_ids, expected) in zip(spilled.items(), whole.items(), strict=True):
        assert ids == expected_ids and torch.equal(values, expected), one.name
    assert in_files(folder) and not list(folder.iterdir())
    factors = 8 * room(1, 15, torch.float64)
    assert whole.bytes() == 8 * ROW + factors
    assert (spilled.bytes(), spilled.spilled_bytes()) == (budget, 8 * ROW + factors - budget)


def test_a_full_disk_is_told_in_a_sentence_and_nothing_is_left(tmp_path, monkeypatch):
    def full(handle: int, begin: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    rows = declared(Spill(ROW, tmp_path)).lazy_rows("corrections")
    rows[0].add_(1)
    with pytest.raises(
        SaveError, match="takes no 64 MiB of the agents' state beyond train.state_memory: No space"
    ) as told:
        rows[1]
    assert told.value.exit_code == ExitCode.NOT_SAVED
    assert 1 not in rows and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").write_text("", encoding="utf-8")
    rows = declared(Spill(0, tmp_path / "taken" / "state")).lazy_rows("corrections")
    with pytest.raises(SaveError, match="taken/state takes no"):
        rows[0]
