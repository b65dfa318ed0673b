"""Streams are named by what they are for, and never meet."""

from __future__ import annotations

import numpy as np

from mpidl.seeding import stream, torch_seed


def test_a_stream_is_a_function_of_its_name():
    assert np.array_equal(stream(1, "shuffle", 2, 3).random(8), stream(1, "shuffle", 2, 3).random(8))


def test_streams_that_differ_in_any_part_of_the_name_share_no_number():
    names = [(1, "a", 0, 0), (2, "a", 0, 0), (1, "b", 0, 0), (1, "a", 1, 0), (1, "a", 0, 1), (1, "a", 1, 1)]
    drawn = np.concatenate([stream(*name).integers(2**63, size=500) for name in names])
    assert len(np.unique(drawn)) == len(drawn)


def test_a_long_draw_does_not_run_into_the_next_index():
    long = stream(1, "a", 0, 0).integers(2**63, size=200_000)
    assert not np.isin(stream(1, "a", 0, 1).integers(2**63, size=1000), long).any()


def test_known_values_stay():
    """A change here would change every published run."""
    assert stream(7, "shuffle", 3, 2).permutation(6).tolist() == [1, 4, 3, 2, 0, 5]
    assert torch_seed(7, "initial") == 3_931_125_710_457_672_420
