"""Who is silent for long is told once, and once that it is heard of again."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from mpidl.comm.start.watchdog import _Watchdog


def test_a_silent_rank_is_told_once_and_once_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    rank = SimpleNamespace(_told=False, _everyone=[("a", 1), ("b", 2)])
    with caplog.at_level(logging.WARNING, "mpidl.comm"):
        for silent, again in ((1, True), (9, False), (11, False), (12, False), (13, True), (1, True), (11.4, False)):
            _Watchdog._tell(rank, 1, silent, 600.0, again)
    waiting = "rank 1 on b has not been heard of for 11 s; the others wait for it, for the 600 s of failures.timeout"
    assert caplog.messages == [waiting, "rank 1 on b is heard of again, after 13 s", waiting]
