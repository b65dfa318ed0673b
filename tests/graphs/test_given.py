"""Graphs from networkx by name, and from a user's own functions and classes."""

from __future__ import annotations

import pytest

from mpidl.errors import ConfigError
from mpidl.graphs import GRAPHS
from mpidl.graphs.validate import require_connected, require_doubly_stochastic


def build(value, agents, seed=0):
    return GRAPHS.parse(value).build(agents, seed)


def networkx(generator, **arguments):
    return {"name": "networkx", "generator": generator, "arguments": arguments}


PLUGINS = "tests.graphs.plugins"


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        (networkx("circulant_graph", n="agents", offsets=[1, 3]), 48),
        (networkx("grid_2d_graph", m=3, n=4), 34),
        (networkx("barabasi_albert_graph", n="agents", m=2), 40),
        (networkx("barabasi_albert_graph", n="agents", m=2, seed=4), 40),
        (networkx("star_graph", n=11) | {"weights": "best-constant"}, 22),
    ],
)
def test_networkx_generators_by_name(value, messages):
    topology = build(value, 12)
    require_connected(topology)
    require_doubly_stochastic(topology)
    assert topology.at(0).messages == messages


def test_networkx_takes_the_seed_of_the_run_unless_it_is_given_one():
    drawn = networkx("barabasi_albert_graph", n="agents", m=2)
    assert build(drawn, 20, 1).at(0).digest == build(drawn, 20, 1).at(0).digest != build(drawn, 20, 2).at(0).digest
    fixed = networkx("barabasi_albert_graph", n="agents", m=2, seed=4)
    assert build(fixed, 20, 1).at(0).digest == build(fixed, 20, 2).at(0).digest


def test_directed_and_parallel_edges_of_networkx():
    topology = build(networkx("random_k_out_graph", n="agents", k=3, alpha=1.0), 15)
    mixing = topology.at(0)
    assert topology.directed and mixing.column_stochastic
    # Each column's weights are 1/(1 + out-degree), parallel edges counted once.
    for sender, receivers in enumerate(mixing.receivers):
        assert mixing.self_weights[sender] == 1 / (1 + len(receivers))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            networkx("barabasi_graph", n="agents"),
            "graph.generator: networkx has no generator 'barabasi_graph'; did you",
        ),
        (networkx("gnp_random_graph", n="agents"), "graph.arguments: gnp_random_graph needs 'p'"),
        (networkx("gnp_random_graph", n="agents", q=1), "graph.arguments.q: 'q' is not known"),
        (networkx("gnp_random_graph", n="agents", p=0.001), "none of 100 draws connected the 12 agents"),
        (networkx("barabasi_albert_graph", n="agents", m=50), "graph.arguments: barabasi_albert_graph: NetworkXError"),
        (networkx("path_graph", n=5), "networkx's path_graph has 5 agents, not 12"),
        (networkx("number_of_nonisomorphic_trees", order=5), "returned int, not a graph"),
        (networkx("gn_graph", n="agents") | {"weights": "lazy"}, "graph"),
        ({"name": "networkx"}, "generator: is missing"),
    ],
    ids=str,
)
def test_networkx_misused_is_one_sentence(value, words):
    with pytest.raises(ConfigError, match="^[^\n]*$") as error:
        build(value, 12)
    assert words in str(error.value)


def test_a_function_may_return_matrices_or_a_networkx_graph():
    topology = build({"name": f"{PLUGINS}:pair_up", "shift": 1}, 7)
    assert topology.period == 2
    require_connected(topology)
    require_doubly_stochastic(topology)
    assert build(f"{PLUGINS}:wheel", 9).at(0).messages == 32
    assert build({"name": f"{PLUGINS}:identity", "scale": 2}, 2).at(0).self_weights == (2.0, 2.0)


def test_a_class_of_ones_own_is_a_graph_with_all_weight_rules():
    mixing = build({"name": f"{PLUGINS}:Hub", "hub": 2, "weights": "uniform"}, 5).at(0)
    assert mixing.neighbours[2] == (0, 1, 3, 4)
    assert mixing.weights[0] == (0.2,)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (f"{PLUGINS}:too_small", "'tests.graphs.plugins:too_small' has 2 agents, not 4"),
        (f"{PLUGINS}:nothing", "what 'tests.graphs.plugins:nothing' returned"),
        (f"{PLUGINS}:failing", "raised RuntimeError: on purpose"),
        (f"{PLUGINS}:pairup", "did you mean 'pair_up'?"),
        ({"name": f"{PLUGINS}:pair_up", "sift": 2}, "sift: 'sift' is not known"),
    ],
    ids=str,
)
def test_a_plug_in_that_fails_is_one_sentence(value, words):
    with pytest.raises(ConfigError, match="^[^\n]*$") as error:
        build(value, 4)
    assert words in str(error.value)
