"""What holds for every registered graph, on every number of agents that it allows."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidl.errors import ConfigError
from mpidl.graphs import GRAPHS
from mpidl.graphs.base import Mixing
from mpidl.graphs.validate import (
    require_averaging,
    require_column_stochastic,
    require_connected,
    require_doubly_stochastic,
)
from mpidl.graphs.weights import RULES

# Settings for the graphs that need some, and for what a bare name does not reach.
EXAMPLES = [
    *(name for name in GRAPHS if name not in ("file", "networkx", "alternating", "relabel")),
    {"name": "erdos-renyi", "p": 0.7},
    {"name": "base-k", "k": 2},
    {"name": "base-k", "k": 5},
    {"name": "networkx", "generator": "gnp_random_graph", "arguments": {"n": "agents", "p": 0.6}},
    {"name": "networkx", "generator": "path_graph", "arguments": {"n": "agents"}},
    {"name": "alternating", "graphs": ["ring", "one-peer-exponential", {"name": "base-k", "k": 2}]},
    {"name": "alternating", "graphs": ["chain", "one-peer-matching", "erdos-renyi"]},
    {"name": "relabel", "graph": "star", "every": 3},
    {"name": "relabel", "graph": "one-peer-exponential"},
]
STATIC = [
    name
    for name in GRAPHS
    if name not in ("file", "networkx") and "weights" in (fields := GRAPHS.settings(name).model_fields)
    if fields["weights"].default == "metropolis"
]
SIZES = {"petersen": [10], "dyck": [32], "hypercube": [1, 2, 4, 8, 16, 32]}


def sizes(value):
    name = value if isinstance(value, str) else value["name"]
    return st.sampled_from(SIZES[name]) if name in SIZES else st.integers(1, 40)


def build(value, agents, seed=0):
    return GRAPHS.parse(value).build(agents, seed)


def check_consistent(mixing: Mixing, agents: int):
    assert mixing.agents == agents == len(mixing.neighbours) == len(mixing.weights) == len(mixing.self_weights)
    dense = mixing.dense()
    assert np.isfinite(dense).all()
    for i in range(agents):
        assert list(mixing.neighbours[i]) == sorted(set(mixing.neighbours[i]) - {i})
        assert all(type(w) is float and w != 0 for w in mixing.weights[i])
        assert [dense[i, j] for j in mixing.neighbours[i]] == list(mixing.weights[i])
        assert dense[i, i] == mixing.self_weights[i]
        assert list(mixing.receivers[i]) == [k for k in range(agents) if k != i and dense[k, i] != 0]
    assert mixing.messages == np.count_nonzero(dense - np.diag(np.diagonal(dense)))
    assert np.allclose(mixing.row_sums, dense.sum(1), atol=1e-14)
    assert np.allclose(mixing.column_sums, dense.sum(0), atol=1e-14)
    assert mixing.symmetric == np.allclose(dense, dense.T, rtol=0, atol=1e-9)
    again = Mixing.from_dense(dense)
    assert (again.neighbours, again.weights, again.self_weights) == (
        mixing.neighbours,
        mixing.weights,
        mixing.self_weights,
    )
    assert again.digest == mixing.digest and len(mixing.digest) == 8


@pytest.mark.parametrize("value", EXAMPLES, ids=str)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_graph_is_connected_and_doubly_stochastic(value, data):
    agents, seed = data.draw(sizes(value)), data.draw(st.integers(0, 5))
    topology = build(value, agents, seed)
    assert topology.agents == agents
    require_connected(topology)
    require_averaging(topology)
    require_doubly_stochastic(topology)
    for t in topology.rounds(6):
        mixing = topology.at(t)
        check_consistent(mixing, agents)
        assert np.abs(mixing.row_sums - 1).max() < 1e-14 and np.abs(mixing.column_sums - 1).max() < 1e-14
        assert topology.directed or mixing.symmetric


@pytest.mark.parametrize("value", EXAMPLES, ids=str)
def test_the_same_seed_gives_the_same_rounds_and_periods_repeat_the_same_objects(value):
    agents = {"petersen": 10, "dyck": 32}.get(str(value), 16)
    one, other = build(value, agents, 7), build(value, agents, 7)
    assert [one.at(t).digest for t in range(30)] == [other.at(t).digest for t in range(30)]
    # Rounds do not depend on the order in which they are asked for.
    assert [one.at(t).digest for t in reversed(range(30))] == [other.at(t).digest for t in reversed(range(30))]
    if one.period is not None:
        assert all(one.at(t) is one.at(t + one.period) for t in range(one.period))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", STATIC)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_weight_rule_has_the_symmetry_and_sums_it_claims(name, rule, data):
    topology = build({"name": name, "weights": rule}, data.draw(sizes(name)))
    require_column_stochastic(topology)
    require_averaging(topology)
    mixing = topology.at(0)
    check_consistent(mixing, topology.agents)
    if rule != "out-degree":
        assert mixing.symmetric
        require_doubly_stochastic(topology)
    if rule != "best-constant":
        assert min(mixing.self_weights) > 0
    if rule == "lazy":
        assert np.linalg.eigvalsh(mixing.dense()).min() > -1e-12


def test_random_graphs_differ_between_seeds_and_can_have_a_seed_of_their_own():
    for name in ("erdos-renyi", "random-regular", "small-world", "one-peer-matching"):
        assert build(name, 20, 1).at(0).digest != build(name, 20, 2).at(0).digest
        fixed = {"name": name, "seed": 5}
        assert build(fixed, 20, 1).at(0).digest == build(fixed, 20, 2).at(0).digest == build(name, 20, 5).at(0).digest


def test_small_regular_graphs_are_equally_likely():
    """6 agents with 3 neighbours have 70 graphs, of which 10 are K3,3: those in which two neighbours never touch."""
    draws = Counter(build({"name": "random-regular", "degree": 3}, 6, seed).at(0).neighbours for seed in range(2100))
    assert len(draws) == 70
    bipartite = [
        count
        for rows, count in draws.items()
        if all(set(rows[i]).isdisjoint(rows[j]) for i in range(6) for j in rows[i])
    ]
    # Four deviations of 0.0076 about 1/7.
    assert len(bipartite) == 10 and abs(sum(bipartite) / 2100 - 1 / 7) < 0.03
    # The mean of chi² is 69 here, and its deviation 12.
    assert sum((count - 30) ** 2 / 30 for count in draws.values()) < 120


def test_a_digest_is_the_same_in_another_process():
    code = (
        "from mpidl.graphs import GRAPHS; print(GRAPHS.parse('erdos-renyi').build(30, 3).at(0).digest.hex(),"
        "GRAPHS.parse('one-peer-matching').build(30, 3).at(9).digest.hex())"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    here = [build("erdos-renyi", 30, 3).at(0), build("one-peer-matching", 30, 3).at(9)]
    assert output.split() == [mixing.digest.hex() for mixing in here]


def test_registered_modules_import_nothing_heavy():
    code = (
        "import sys; from mpidl.graphs import GRAPHS; [GRAPHS.find(name) for name in GRAPHS]; "
        "print([m for m in ('torch', 'networkx', 'scipy', 'matplotlib', 'h5py', 'mpi4py') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_relabelling_uses_one_permutation_on_both_sides(agents, seed):
    random = np.random.default_rng(seed)
    dense = random.standard_normal((agents, agents)) * (random.random((agents, agents)) < 0.6)
    permutation = random.permutation(agents)
    place = np.eye(agents)[permutation]
    assert np.array_equal(Mixing.from_dense(dense).relabelled(permutation.tolist()).dense(), place @ dense @ place.T)


def test_relabel_keeps_the_spectrum_and_moves_the_agents():
    ring, moved = build("ring", 9), build({"name": "relabel", "graph": "ring", "every": 2}, 9, 3)
    expected = np.linalg.eigvalsh(ring.at(0).dense())
    assert np.allclose(np.linalg.eigvalsh(moved.at(4).dense()), expected, atol=1e-14)
    assert moved.at(4).digest == moved.at(5).digest != moved.at(6).digest


def test_alternating_takes_each_graph_in_turn_and_the_next_round_of_a_varying_one():
    topology = build({"name": "alternating", "graphs": ["ring", "one-peer-exponential"]}, 8)
    ring, peers = build("ring", 8), build("one-peer-exponential", 8)
    assert topology.period == 6
    assert [topology.at(t).digest for t in (0, 2, 4)] == [ring.at(0).digest] * 3
    assert [topology.at(t).digest for t in (1, 3, 5, 7)] == [peers.at(t).digest for t in (0, 1, 2, 0)]


def test_two_random_graphs_in_a_list_are_not_the_same_graph():
    topology = build({"name": "alternating", "graphs": ["erdos-renyi", "erdos-renyi"]}, 20)
    assert topology.at(0).digest != topology.at(1).digest


@pytest.mark.parametrize("name", ["ring", "torus", "exponential", "random-regular", "small-world", "base-k"])
def test_sparse_graphs_of_a_thousand_agents_stay_sparse(name):
    topology = build(name, 1000)
    assert max(topology.at(t).messages for t in topology.rounds(1)) <= 10_000


@pytest.mark.parametrize(
    ("value", "agents", "words"),
    [
        ("petersen", 16, "graph: the Petersen graph has 10 agents, not 16"),
        ("dyck", 16, "graph: the Dyck graph has 32 agents, not 16"),
        ("hypercube", 12, "the nearest are 8 and 16"),
        ({"name": "grid", "rows": 5}, 16, "graph.rows: a grid of 5 × 3 has 15 agents, not 16"),
        ({"name": "torus", "columns": 20}, 16, "graph.columns: a torus of 1 × 20 has 20 agents, not 16"),
        ({"name": "grid", "rows": 2, "columns": 2}, 16, "graph.rows: a grid of 2 × 2 has 4 agents, not 16"),
        ({"name": "random-regular", "degree": 3}, 7, "graph.degree: 7 agents cannot have 3 neighbours each"),
        ({"name": "random-regular", "degree": 7}, 7, "graph.degree: 7 agents cannot have 7 neighbours each"),
        ({"name": "random-regular", "degree": 1}, 8, "none of 100 draws connected the 8 agents; raise degree"),
        ({"name": "erdos-renyi", "p": 0.001}, 30, "none of 100 draws connected the 30 agents; raise p"),
        ({"name": "alternating", "graphs": ["ring", "petersen"]}, 16, "graph.graphs.1: the Petersen graph has 10"),
        ({"name": "relabel", "graph": {"name": "grid", "rows": 3}}, 16, "graph.graph.rows: a grid of 3 × 5"),
        (
            {
                "name": "alternating",
                "graphs": [{"name": "alternating", "graphs": ["ring"] * n} for n in (7, 11, 13, 17, 7)],
            },
            2,
            "graph.graphs: the graphs' periods (7, 11, 13, 17) repeat together only after 85085 rounds",
        ),
    ],
    ids=str,
)
def test_a_size_that_does_not_fit_is_one_sentence(value, agents, words):
    with pytest.raises(ConfigError, match="^[^\n]*$") as error:
        build(value, agents)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"name": "ring", "weights": "metropolise"}, "weights: 'metropolise' is not known; did you mean 'metropolis'?"),
        ({"name": "exponential", "weights": "metropolis"}, "weights: 'metropolis' is not allowed"),
        ({"name": "base-k", "k": 0}, "k: 0 is not allowed"),
        ({"name": "base-k", "weights": "lazy"}, "weights: 'weights' is not known"),
        ({"name": "erdos-renyi", "p": 1.5}, "p: 1.5 is not allowed"),
        ({"name": "small-world", "degree": 3}, "degree: 3 is not allowed"),
        ({"name": "alternating", "graphs": []}, "graphs: [] is not allowed"),
        ({"name": "alternating", "graphs": ["rng"]}, "graphs.0.name: graph 'rng' is not known; did you mean 'ring'?"),
        ({"name": "relabel", "graph": {"name": "grid", "rows": 0}}, "graph.rows: 0 is not allowed"),
        ({"name": "relabel"}, "graph: is missing"),
        ("rng", "did you mean 'ring'?"),
    ],
    ids=str,
)
def test_a_bad_setting_is_one_sentence(value, words):
    with pytest.raises(ConfigError, match="^[^\n]*$") as error:
        GRAPHS.parse(value)
    assert words in str(error.value)
