"""How many chunks are under way: as many as a link asks for, within bounds, whatever holds up ranks."""

from __future__ import annotations

import random

import pytest

from mpidl.comm.gossip.pace import TURNS, Pace

CHUNKS, CHUNK_SECONDS = 96, 8e-3


def turns_over(delay: float, most: int = 16, noise: float = 0.0, least: int = 3) -> Pace:
    """After many turns over a stand-in for a link: after each ring full of chunks it takes `delay` to ask for more."""
    pace, draw = Pace(least, most), random.Random(0)
    for _ in range(20 * TURNS):
        seconds = max(CHUNKS * CHUNK_SECONDS, CHUNKS / pace.ring * delay)
        pace.see(seconds * (1 + noise * draw.random() ** 4))
    return pace


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_the_number_grows_with_the_delay_up_to_where_the_link_is_full(noise):
    rings = [turns_over(delay, noise=noise).ring for delay in (0.0, 0.02, 0.04, 0.08, 0.16)]
    assert rings == [3, 3, 6, 12, 16]
    # Full: so many chunks take as long as it takes to ask for more, or no more are allowed.
    assert 12 * CHUNK_SECONDS > 0.08
    assert turns_over(0.16, most=64, noise=noise).ring == 24


def test_the_number_stays_within_bounds_and_is_left_alone_once_it_is_settled():
    for most in range(1, 20):
        pace = turns_over(1.0, most)
        # Less than a tenth is not worth a longer ring.
        assert 0.9 * most <= pace.ring <= most and pace.settled
        assert not any(pace.see(seconds) for seconds in (1e-9, 1e9) * TURNS)
        assert pace.ring <= most


def test_one_turn_that_was_held_up_decides_nothing():
    pace = Pace(3, 16)
    changes = [pace.see(seconds) for seconds in (9.0, 1.0, 9.0, 9.0, 9.0, 0.5, 9.0, 0.499, 9.0)]
    assert changes == [False, False, True, False, False, True, False, False, True]
    assert (pace.ring, pace.settled) == (6, True)
