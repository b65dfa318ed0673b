"""Sums of many agents by few calls: everything is added once, by ascending number, in calls that stay few."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidl.comm.gossip.runs import RowRun, StridedRows, Summand, by_distance, by_order, schedule
from mpidl.comm.placement import Placement
from mpidl.graphs import GRAPHS
from mpidl.graphs.base import Mixing
from tests.comm.mixing import random_matrix


def summands(mixing: Mixing, placement: Placement, rank: int) -> list[Summand]:
    return [
        Summand(place, order, j - i, placement.owner(j), placement.of_rank(placement.owner(j)).index(j), weight)
        for place, i in enumerate(placement.of_rank(rank))
        for order, (j, weight) in enumerate(zip(mixing.neighbours[i], mixing.weights[i], strict=True))
    ]


def added(runs: list[RowRun], mixing: Mixing, placement: Placement, rank: int) -> dict[int, list[tuple[int, float]]]:
    """By agent, what these runs add to it, in their order: read off blocks that hold each agent's number."""
    blocks = [torch.tensor(placement.of_rank(owner)).view(-1, 1) for owner in range(placement.ranks)]
    found: dict[int, list[tuple[int, float]]] = {i: [] for i in placement.of_rank(rank)}
    for run in runs:
        targets = run.targets.of(blocks[rank]).flatten().tolist()
        home = blocks[run.home]
        at = run.sources.of(home) if isinstance(run.sources, StridedRows) else home[list(run.sources)]
        assert len(set(targets)) == len(targets)
        for i, j, weight in zip(targets, at.flatten().tolist(), run.weights, strict=True):
            found[i].append((j, weight))
    return found


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    st.integers(1, 20),
    st.integers(1, 3),
    st.floats(0, 1),
    st.integers(0, 2**32),
    st.sampled_from([1, 3, 64]),
    st.data(),
)
def test_every_agent_adds_each_neighbour_once_by_ascending_number(agents, ranks, density, seed, most, data):
    mixing = Mixing.from_dense(random_matrix(agents, density, seed, directed=bool(seed % 2)))
    owners = data.draw(st.lists(st.integers(0, ranks - 1), min_size=agents, max_size=agents))
    placement = Placement(tuple(owners), ranks)
    for rank in range(ranks):
        every = summands(mixing, placement, rank)
        expected = {i: list(zip(mixing.neighbours[i], mixing.weights[i], strict=True)) for i in placement.of_rank(rank)}
        for runs in (by_order(every, most), by_distance(every)):
            assert added(runs, mixing, placement, rank) == expected
        gathered = [run for run in by_order(every, most) if not isinstance(run.sources, StridedRows)]
        assert all(len(run.sources) <= most for run in gathered)


@pytest.mark.parametrize(("graph", "calls"), [("ring", 4), ("torus", 8), ("hypercube", 12), ("exponential", 12)])
def test_regular_graphs_take_a_call_for_each_distance_and_gather_nothing(graph, calls):
    mixing, placement = GRAPHS.parse(graph).build(64, 0).at(0), Placement.contiguous(64, 1)
    runs = schedule(summands(mixing, placement, 0), 2000, recurring=True)
    assert len(runs) == calls
    assert all(isinstance(run.sources, StridedRows) for run in runs)


def test_irregular_graphs_gather_rather_than_add_rows_one_by_one():
    mixing = GRAPHS.parse({"name": "random-regular", "degree": 4}).build(64, 0).at(0)
    every = summands(mixing, Placement.contiguous(64, 1), 0)
    for recurring in (True, False):
        assert len(schedule(every, 1000, recurring)) == 4
    # Where copying rows takes longer than the calls that it saves, they are added as they lie.
    assert all(isinstance(run.sources, StridedRows) for run in schedule(every, 8000, recurring=True))
    # So are rows of which only one would fit where they are gathered.
    assert all(isinstance(run.sources, StridedRows) for run in schedule(every, 2**16, recurring=False))
