"""Spectral facts, distances and the base-(k+1) table of the literature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidl.errors import ConfigError
from mpidl.graphs import GRAPHS
from mpidl.graphs.base import Mixing, Periodic
from mpidl.graphs.paths import rounds_to_reach_all
from mpidl.graphs.spectrum import analyse, eigenvalues, measured_rate, period_product

# Lengths of the base-(k+1) sequence for k = 1, 2, 3, 4.
LENGTHS = {
    5: (5, 3, 3, 1),
    6: (4, 2, 2, 2),
    7: (5, 4, 3, 3),
    16: (4, 4, 2, 2),
    20: (7, 5, 4, 2),
    24: (6, 4, 3, 3),
    25: (9, 6, 5, 2),
    33: (11, 6, 5, 5),
    40: (8, 6, 5, 3),
}


def build(value, agents, seed=0):
    return GRAPHS.parse(value).build(agents, seed)


@pytest.mark.parametrize(("name", "sigma"), [("ring", 0.9493), ("grid", 0.8686), ("exponential", 0.6000)])
def test_singular_values_of_sixteen_agents(name, sigma):
    topology = build(name, 16)
    direct = np.linalg.svd(topology.at(0).dense() - 1 / 16, compute_uv=False)[0]
    assert round(float(direct), 4) == sigma
    facts = analyse(topology)
    assert facts.sigma == pytest.approx(direct, abs=1e-14)
    assert facts.gap == pytest.approx(1 - direct, abs=1e-13)


def test_smallest_eigenvalues_that_exact_methods_ask_for():
    assert analyse(build("grid", 16)).smallest == pytest.approx(-0.431, abs=5e-4)
    assert analyse(build("ring", 16)).smallest == pytest.approx(-1 / 3, abs=1e-12)
    assert analyse(build({"name": "ring", "weights": "lazy"}, 16)).smallest == pytest.approx(1 / 3, abs=1e-12)
    assert analyse(build("exponential", 16)).smallest is None


@pytest.mark.parametrize("agents", [3, 4, 7, 16, 25])
def test_closed_forms(agents):
    angles = 2 * np.pi * np.arange(agents) / agents
    ring = np.sort((1 + 2 * np.cos(angles)) / 3)
    assert np.allclose(eigenvalues(build("ring", agents).at(0).dense()), ring, atol=1e-13)
    directed = (1 + np.exp(1j * angles)) / 2
    values = np.asarray(eigenvalues(build("directed-ring", agents).at(0).dense()))
    assert np.abs(values[:, None] - directed).min(0).max() < 1e-12
    assert analyse(build("complete", agents)).exact
    chain = {"name": "chain", "weights": "uniform"}
    assert analyse(build(chain, agents)).modulus == pytest.approx(1 / 3 + 2 / 3 * np.cos(np.pi / agents), abs=1e-13)


def test_best_constant_is_the_best_constant_and_may_be_negative():
    assert min(build({"name": "star", "weights": "best-constant"}, 8).at(0).self_weights) == pytest.approx(-5 / 9)
    best = analyse(build({"name": "grid", "weights": "best-constant"}, 12)).sigma
    laplacian = np.eye(12) - build({"name": "grid", "weights": "uniform"}, 12).at(0).dense()
    others = [np.linalg.norm(np.eye(12) - a * laplacian - 1 / 12, 2) for a in np.linspace(0.1, 3, 200)]
    assert best <= min(others) + 1e-9


@pytest.mark.parametrize("agents", LENGTHS)
def test_base_k_sequences_have_the_published_lengths(agents):
    assert tuple(build({"name": "base-k", "k": k}, agents).period for k in (1, 2, 3, 4)) == LENGTHS[agents]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 130), st.integers(1, 7))
def test_base_k_averages_exactly_with_at_most_k_peers(agents, k):
    topology = build({"name": "base-k", "k": k}, agents)
    for t in range(topology.period):
        assert max(map(len, topology.at(t).neighbours)) <= k
        assert topology.at(t).symmetric
        assert min(topology.at(t).self_weights) > -1e-15
        assert all(weight > 0 for row in topology.at(t).weights for weight in row)
    assert np.abs(period_product(topology) - 1 / agents).max() < 3e-15


@pytest.mark.parametrize(
    ("agents", "period", "messages"),
    [(26, 5, 278), (22, 4, 282)],
    ids=["factored where both are equally long", "plain where that is shorter"],
)
def test_base_k_takes_the_shorter_form_and_of_two_equally_long_ones_the_factored(agents, period, messages):
    topology = build({"name": "base-k", "k": 4}, agents)
    assert (topology.period, sum(mixing.messages for mixing in topology.phases)) == (period, messages)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(2, 70))
def test_one_peer_exponential_averages_exactly_for_powers_of_two_only(agents):
    topology = build("one-peer-exponential", agents)
    assert topology.period == int(np.floor(np.log2(agents - 1))) + 1
    assert topology.at(1).weights == ((0.5,),) * agents
    assert analyse(topology).exact == (agents == 2**topology.period)


def test_directions_of_directed_graphs():
    assert build("directed-ring", 5).at(0).neighbours == ((4,), (0,), (1,), (2,), (3,))
    # Hops 1, 2, 4: agent 0 hears from 5, 4 and 2, and is heard by 1, 2 and 4.
    assert build("exponential", 6).at(0).neighbours[0] == (2, 4, 5)
    assert build("exponential", 6).at(0).receivers[0] == (1, 2, 4)
    assert [build("one-peer-exponential", 6).at(t).receivers[0] for t in range(4)] == [(1,), (2,), (4,), (1,)]


@pytest.mark.parametrize(
    ("value", "agents", "diameter", "degrees", "messages"),
    [
        ("ring", 16, 8, (2, 2), 32),
        ("chain", 16, 15, (1, 2), 30),
        ("star", 16, 2, (1, 15), 30),
        ("complete", 16, 1, (15, 15), 240),
        ("grid", 16, 6, (2, 4), 48),
        ({"name": "grid", "rows": 2}, 16, 8, (2, 3), 44),
        ("torus", 16, 4, (4, 4), 64),
        ("hypercube", 16, 4, (4, 4), 64),
        ("binary-tree", 15, 6, (1, 3), 28),
        ("petersen", 10, 2, (3, 3), 30),
        ("dyck", 32, 5, (3, 3), 96),
        ("random-regular", 16, None, (4, 4), 64),
        ({"name": "random-regular", "degree": 13}, 16, 2, (13, 13), 208),
        ({"name": "small-world", "p": 0}, 16, 4, (4, 4), 64),
        ("directed-ring", 16, 15, (1, 1), 16),
        ("exponential", 16, 4, (4, 4), 64),
        ("one-peer-exponential", 16, 4, (1, 1), 16),
        ("one-peer-matching", 16, None, (1, 1), 16),
        ("one-peer-matching", 15, None, (0, 1), 14),
    ],
    ids=str,
)
def test_degrees_distances_and_messages(value, agents, diameter, degrees, messages):
    facts = analyse(build(value, agents))
    assert facts.degrees == degrees
    assert facts.messages == messages
    assert facts.diameter is not None
    assert diameter is None or facts.diameter == diameter
    assert facts.bytes(10) == messages * 40


@pytest.mark.parametrize("name", ["petersen", "dyck", "hypercube", "binary-tree"])
def test_named_graphs_are_those_of_networkx(name):
    networkx = pytest.importorskip("networkx")
    agents = {"petersen": 10, "dyck": 32}.get(name, 16)
    reference = {
        "petersen": networkx.petersen_graph(),
        "dyck": networkx.LCF_graph(32, [5, -5, 13, -13], 8),
        "hypercube": networkx.hypercube_graph(4),
        "binary-tree": networkx.full_rary_tree(2, 16),
    }[name]
    ours = networkx.from_numpy_array(build(name, agents).at(0).dense() > 0)
    ours.remove_edges_from(list(networkx.selfloop_edges(ours)))
    assert networkx.is_isomorphic(ours, reference)


def test_small_world_moves_about_p_of_the_edges_and_keeps_their_number():
    lattice = {
        (i, j) for i, row in enumerate(build({"name": "small-world", "p": 0}, 400).at(0).neighbours) for j in row
    }
    moved = {
        (i, j) for i, row in enumerate(build({"name": "small-world", "p": 0.3}, 400).at(0).neighbours) for j in row
    }
    assert len(moved) == len(lattice) == 1600
    assert 0.24 < len(lattice - moved) / len(lattice) < 0.36


def test_erdos_renyi_has_about_p_of_all_edges():
    messages = [build({"name": "erdos-renyi", "p": 0.4}, 100, seed).at(0).messages for seed in range(5)]
    assert 0.38 < np.mean(messages) / 9900 < 0.42


def test_erdos_renyi_joins_each_pair_as_often_as_any_other():
    drawn = [build({"name": "erdos-renyi", "p": 0.8}, 7, seed).at(0).dense() > 0 for seed in range(500)]
    # Five standard deviations; graphs that are not connected, which are drawn again, are one in a thousand.
    often = np.mean(drawn, axis=0)[np.triu_indices(7, 1)]
    assert np.abs(often - 0.8).max() < 0.09
    assert build({"name": "erdos-renyi", "p": 1}, 7).at(0).digest == build("complete", 7).at(0).digest


def test_random_matching_pairs_everybody_with_anybody():
    topology = build("one-peer-matching", 6)
    seen = np.zeros((6, 6), dtype=int)
    for t in range(600):
        for i, row in enumerate(topology.at(t).neighbours):
            seen[i, list(row)] += 1
    assert seen.sum(1).tolist() == [600] * 6
    assert seen[~np.eye(6, dtype=bool)].min() > 80


def test_the_measured_rate_agrees_with_the_eigenvalue():
    """A static graph, followed as if it were drawn anew, tends to its second eigenvalue."""
    assert measured_rate(build("ring", 8)) == pytest.approx(analyse(build("ring", 8)).modulus, rel=0.02)
    # Every round averages one of three pairs: log-rates are known only by simulation, but lie between these bounds.
    assert 0.4 < analyse(build("one-peer-matching", 3)).modulus < 0.8


def test_a_disconnected_graph_never_reaches_everyone():
    assert rounds_to_reach_all(Periodic([Mixing.from_dense(np.eye(3))])) is None
    facts = analyse(Periodic([Mixing.from_dense(np.eye(3))]))
    assert not facts.connected and facts.diameter is None
    assert facts.gap == 0 and facts.rounds_per_digit == float("inf")


def test_too_many_agents_for_eigenvalues_are_one_sentence():
    with pytest.raises(ConfigError, match="at most 4096 agents, not 5000"):
        analyse(build("ring", 5000))
