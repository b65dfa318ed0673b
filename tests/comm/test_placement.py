"""Agents are dealt out evenly, and nothing needs them to be neighbours."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidl.comm.placement import Placement
from mpidl.errors import ConfigError


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 20), st.integers(0, 40))
def test_shares_are_contiguous_and_differ_by_at_most_one(ranks, more):
    placement = Placement.contiguous(ranks + more, ranks)
    shares = [placement.of_rank(rank) for rank in range(ranks)]
    assert [agent for share in shares for agent in share] == list(range(ranks + more))
    sizes = [len(share) for share in shares]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1
    assert all(placement.owner(agent) == rank for rank, share in enumerate(shares) for agent in share)


def test_adopted_agents_are_listed_in_order():
    placement = Placement((0, 2, 0, 2, 0), 3)
    assert [placement.of_rank(rank) for rank in range(3)] == [(0, 2, 4), (), (1, 3)]
    assert placement.agents == 5


def test_more_ranks_than_agents_is_a_configuration_error():
    with pytest.raises(ConfigError, match="3 agents cannot fill 4 ranks.*start 3 or fewer") as caught:
        Placement.contiguous(3, 4)
    assert caught.value.key == "agents"


def test_an_owner_that_is_no_rank_is_refused():
    with pytest.raises(ValueError, match="not one of 2 ranks"):
        Placement((0, 2), 2)
