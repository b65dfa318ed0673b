"""Who is silent for long is told once, and once that it is heard of again; no beat is left when ranks are done."""

from __future__ import annotations

import logging
import time
from types import SimpleNamespace

import pytest
from mpi4py import MPI

from mpidl.comm import survivors
from mpidl.comm.start.watchdog import _Watchdog, watching
from mpidl.errors import Stopped
from tests.ranks import on_ranks


def test_a_silent_rank_is_told_once_and_once_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    rank = SimpleNamespace(_told=False, _everyone=[("a", 1), ("b", 2)])
    with caplog.at_level(logging.WARNING, "mpidl.comm"):
        for silent, again in ((1, True), (9, False), (11, False), (12, False), (13, True), (1, True), (11.4, False)):
            _Watchdog._tell(rank, 1, silent, 600.0, again)
    waiting = "rank 1 on b has not been heard of for 11 s; the others wait for it, for the 600 s of failures.timeout"
    assert caplog.messages == [waiting, "rank 1 on b is heard of again, after 13 s", waiting]


class Kept(MPI.Intracomm):
    def Free(self) -> None:
        """Not before it has been looked into."""


@on_ranks(3)
@pytest.mark.parametrize("stopped", [False, True])
def test_ranks_that_end_together_leave_no_beat_that_nobody_received(comm: MPI.Intracomm, stopped: bool) -> None:
    assert MPI.Query_thread() == MPI.THREAD_MULTIPLE and not survivors.supported()
    kept = Kept(comm.Dup())
    ranks = SimpleNamespace(size=comm.size, allgather=comm.allgather, Dup=lambda: kept)
    try:
        with watching(ranks, 0.4, ends=False):
            # Those who go on for longer beat more often.
            time.sleep(0.1 + 0.05 * comm.rank)
            if stopped:
                raise Stopped("after the same round")
    except Stopped:
        pass
    comm.barrier()
    assert not kept.Iprobe(MPI.ANY_SOURCE, MPI.ANY_TAG)
    MPI.Intracomm(kept).Free()
