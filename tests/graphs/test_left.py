"""What is left of a graph when agents are gone mixes as the whole did, for a row that never stops among the gone."""

from __future__ import annotations

import numpy as np
import pytest

from mpidl.errors import CommunicationError
from mpidl.graphs import GRAPHS
from mpidl.graphs.base import Mixing, Periodic
from mpidl.graphs.left import among, reduced, require_left, without
from mpidl.graphs.paths import connected
from mpidl.graphs.spectrum import eigenvalues

GRAPH = [
    *("ring", "chain", "star", "complete", "grid", "torus", "binary-tree", "petersen", "erdos-renyi", "small-world"),
    *({"name": "star", "weights": "best-constant"}, {"name": "ring", "weights": "lazy"}),
]
ONE_WAY = ["directed-ring", "exponential"]
CHANGING = ["one-peer-exponential", "one-peer-matching", {"name": "relabel", "graph": "ring"}]
GONE = [(3,), (0,), (2, 3, 4), (0, 5, 9)]


def complement(W: np.ndarray, gone: tuple[int, ...]) -> np.ndarray:
    """W_LL + W_LD (I − W_DD)⁻¹ W_DL among those that are left."""
    D = list(gone)
    L = [i for i in range(len(W)) if i not in gone]
    inner = np.linalg.pinv(np.eye(len(D)) - W[np.ix_(D, D)])
    return W[np.ix_(L, L)] + W[np.ix_(L, D)] @ inner @ W[np.ix_(D, L)]


def left(gone: tuple[int, ...], agents: int = 10) -> list[int]:
    return [i for i in range(agents) if i not in gone]


@pytest.mark.parametrize("gone", GONE, ids=str)
@pytest.mark.parametrize("graph", [*GRAPH, *ONE_WAY, *CHANGING], ids=str)
def test_those_around_the_gone_are_joined_by_the_stochastic_complement(graph, gone):
    topology = GRAPHS.parse(graph).build(10, 1)
    found, there = without(topology, gone), left(gone)
    for t in found.rounds(4):
        before, W = topology.at(t), found.at(t).dense()
        assert np.abs(W[np.ix_(there, there)] - complement(before.dense(), gone)).max() < 1e-12
        assert (W[list(gone)] == np.eye(10)[list(gone)]).all() and (W[:, list(gone)] == np.eye(10)[:, list(gone)]).all()
        assert found.at(t).row_stochastic == before.row_stochastic
        assert found.at(t).column_stochastic and before.column_stochastic
        if (before.dense() == before.dense().T).all():
            assert (W == W.T).all(), "to the last bit"


@pytest.mark.parametrize("gone", GONE, ids=str)
@pytest.mark.parametrize("graph", GRAPH, ids=str)
def test_what_was_connected_stays_so_and_mixes_as_fast(graph, gone):
    topology = GRAPHS.parse(graph).build(10, 1)
    rest = among(without(topology, gone), left(gone)).at(0)
    assert connected(rest.neighbours)
    before, after = (np.sort(eigenvalues(mixing.dense()).real) for mixing in (topology.at(0), rest))
    assert after[-2] <= before[-2] + 1e-12 and after[0] >= before[0] - 1e-12


@pytest.mark.parametrize("graph", ONE_WAY)
def test_a_one_way_graph_keeps_its_columns_and_stays_connected(graph):
    for gone in GONE:
        rest = among(without(GRAPHS.parse(graph).build(10, 1), gone), left(gone)).at(0)
        assert rest.column_stochastic and connected(rest.neighbours)


def test_who_only_takes_leaves_others_what_they_sent():
    # Nothing of agent 2 goes on in this round, so that its senders keep their share.
    mixing = Mixing.from_dense(np.array([[0.5, 0, 0], [0.25, 1, 0], [0.25, 0, 1]]))
    assert reduced(mixing, [2]).dense().tolist() == [[0.75, 0, 0], [0.25, 1, 0], [0, 0, 1]]


def test_a_graph_that_changes_can_fall_apart_which_is_said():
    # In turn, the two sides of a square: its opposite corners never meet.
    sides = ((1, 0, 3, 2), (2, 3, 0, 1))
    square = Periodic([Mixing.from_dense((np.eye(4) + np.eye(4)[list(side)]) / 2) for side in sides])
    topology = without(square, [0, 3])
    with pytest.raises(CommunicationError, match="nothing from agent 2 ever reaches agent 1; --resume goes on"):
        require_left(topology, [1, 2])
    require_left(without(GRAPHS.parse("ring").build(4, 0), [0, 3]), [1, 2])
