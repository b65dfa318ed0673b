"""Cases that fail in every way a case can: what test_ranks.py runs, and pytest by itself does not collect."""

from __future__ import annotations

import os
import signal

import pytest

from tests.ranks import on_ranks


@on_ranks(2, 3)
def test_fails_on_all(comm):
    assert comm.size == 7


@on_ranks(2)
def test_fails_on_one(comm):
    if comm.rank == 1:
        raise ValueError("only here")
    comm.recv(source=1)


@on_ranks(3)
def test_dies(comm):
    if comm.rank == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    comm.Barrier()


@on_ranks(2)
def test_skips(comm):
    pytest.skip("for a reason")


@on_ranks(2, 3)
@pytest.mark.parametrize("number", [1, 2])
def test_passes(comm, number, tmp_path):
    (tmp_path / str(comm.rank)).touch()
    assert comm.allreduce(number) == number * comm.size
    assert len(list(tmp_path.iterdir())) == comm.size
