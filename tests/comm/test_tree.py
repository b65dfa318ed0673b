"""The tree of a sum, cut where ranks meet, and the rows of memory that takes."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mpidl.comm.tree import rows_held, rows_held_of_any, tree_sum


def test_tree_sum_of_floats_follows_the_tree():
    values = [1e16, 1.0, -1e16, 1.0, 3.0]
    assert tree_sum(values) == ((1e16 + 1.0) + (-1e16 + 1.0)) + 3.0
    assert tree_sum([]) == 0.0
    assert tree_sum(np.ones((0, 2))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_rows_told_for_any_runs_are_enough_and_not_many_more(ranks):
    draw = random.Random(ranks)
    for positions in [*range(1, 18), 40, 100]:
        found = []
        for _ in range(60):
            begins = sorted(draw.randrange(positions + 1) for _ in range(ranks - 1))
            runs = [sum(begin <= place for begin in begins) for place in range(positions)]
            found.append(rows_held(runs, ranks))
        told = rows_held_of_any(positions, ranks)
        assert max(found) <= told <= 1.6 * max(found) + 2, positions
