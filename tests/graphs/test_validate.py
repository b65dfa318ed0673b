"""Graphs that cannot serve are refused in one sentence with the number that failed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mpidl.errors import ConfigError
from mpidl.graphs import GRAPHS, validate
from mpidl.graphs.base import Drawn, Mixing, Periodic


def build(value, agents):
    return GRAPHS.parse(value).build(agents, 0)


def static(*rows):
    return Periodic([Mixing.from_dense(np.array(rows, dtype=float))])


def refused(check, topology, *words):
    with pytest.raises(ConfigError, match="^[^\n]*$") as error:
        check(topology)
    for word in words:
        assert word in str(error.value)


HALVES = [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]]
BIASED = [[0.5, 0.5, 0], [0.25, 0.5, 0.5], [0.25, 0, 0.5]]


def test_two_halves_are_not_connected():
    refused(validate.require_connected, static(*HALVES), "not connected", "nothing from agent 2 ever reaches agent 0")


def test_edges_that_only_lead_away_are_not_connected():
    refused(validate.require_connected, static([1, 0], [0.5, 0.5]), "nothing from agent 1 ever reaches agent 0")
    refused(validate.require_connected, static([0.5, 0.5], [0, 1]), "nothing from agent 0 ever reaches agent 1")


def test_a_period_or_a_window_may_connect_what_no_round_does():
    first, second = Mixing.from_dense(HALVES), Mixing.from_dense(HALVES).relabelled([0, 2, 1, 3])
    validate.require_connected(Periodic([first, second]))
    validate.require_connected(Drawn(4, lambda t: (first, second)[t == 37], directed=False))
    refused(validate.require_connected, Periodic([first, first]), "in all 2 rounds of its period")
    refused(validate.require_connected, Drawn(4, lambda t: first, directed=False), "in the first 100 rounds")


def test_sums_that_are_not_one_are_named():
    refused(validate.require_doubly_stochastic, static(*BIASED), "row 1 sum to 1.25", "gossip needs", "sgp")
    validate.require_column_stochastic(static(*BIASED))
    refused(validate.require_column_stochastic, static(*np.array(BIASED).T), "column 1 sum to 1.25", "push needs")
    refused(validate.require_doubly_stochastic, Periodic([Mixing.from_dense(np.eye(3)), Mixing.from_dense(BIASED)]),
            "row 1 sum to 1.25 in round 1")  # fmt: skip
    refused(validate.require_doubly_stochastic, build({"name": "star", "weights": "out-degree"}, 5), "row 0 sum to")


def test_a_weight_that_is_no_number_is_refused():
    nan = Periodic([Mixing(((1,), (0,)), ((math.nan,), (0.5,)), (0.5, 0.5))])
    refused(validate.require_doubly_stochastic, nan, "row 0 sum to nan")
    refused(validate.require_symmetric, nan, "agent 0 weighs agent 1 by nan")
    refused(lambda matrix: Mixing.from_dense(matrix), [[1, math.nan], [0, 1]], "weight nan in row 0, column 1")
    refused(lambda matrix: Mixing.from_dense(matrix), [[1, 0]], "shape (1, 2)")
    refused(lambda matrix: Mixing.from_dense(matrix), [["a"]], "not a matrix of numbers")


def test_asymmetric_weights_are_named_with_both_sides():
    one_sided = static([0.6, 0.4], [0.2, 0.8])
    refused(validate.require_symmetric, one_sided, "agent 0 weighs agent 1 by 0.4 and agent 1 weighs agent 0 by 0.2")
    refused(
        lambda t: validate.require_symmetric(t, "ngc"), build("directed-ring", 4), "ngc needs symmetric", "by 0 and"
    )
    validate.require_symmetric(build("one-peer-matching", 7))
    validate.require_symmetric(build("ring", 1))


def test_graphs_that_change_are_not_static():
    validate.require_static(build("exponential", 4))
    refused(lambda t: validate.require_static(t, "d2"), build("one-peer-exponential", 8), "d2 needs", "every 3 rounds")
    refused(validate.require_static, build("one-peer-matching", 8), "drawn anew every round")


def test_a_tree_has_one_edge_less_than_agents():
    for name in ("chain", "star", "binary-tree"):
        for agents in (1, 2, 9):
            validate.require_tree(build(name, agents))
    refused(
        lambda t: validate.require_tree(t, "relaysgd"), build("ring", 5), "relaysgd needs a tree, 4", "with 5 edges"
    )
    refused(validate.require_tree, build("directed-ring", 5), "not a directed graph")
    refused(validate.require_tree, static(*HALVES), "not connected")


def test_weights_that_swap_for_ever_do_not_average():
    refused(validate.require_averaging, static([0, 1], [1, 0]), "never averages", "modulus 1")
    validate.require_averaging(static([0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]))
    validate.require_averaging(build({"name": "star", "weights": "best-constant"}, 8))


def test_neither_do_they_where_places_are_drawn_anew():
    growing = 3 * np.eye(6) - 2 / 6
    refused(validate.require_averaging, Periodic([Mixing.from_dense(growing)]), "never averages", "modulus 3")
    drawn = Drawn(6, lambda t: Mixing.from_dense(np.roll(growing, (t, t), (0, 1))), False)
    refused(validate.require_averaging, drawn, "never averages", "multiplies disagreement by 3")
    swapping = {"name": "relabel", "graph": {"name": "star", "weights": "best-constant"}}
    assert min(build(swapping, 8).at(0).self_weights) < 0
    validate.require_averaging(build(swapping, 8))


@pytest.mark.parametrize(
    ("need", "graph", "words"),
    [
        ("symmetric", "directed-ring", "mine needs symmetric weights"),
        ("column stochastic", static([0.5, 0.5], [0.6, 0.4]), "mine needs columns that sum to 1"),
        ("doubly stochastic", static([0.5, 0.5], [0.6, 0.4]), "mine needs rows and columns that sum to 1"),
        ("static", "one-peer-exponential", "mine needs a graph that stays the same"),
        ("tree", "ring", "mine needs a tree"),
        ("symmetrical", "ring", "'symmetrical' is not known; did you mean 'symmetric'?"),
    ],
)
def test_what_an_algorithm_needs_is_checked_by_its_words(need, graph, words):
    topology = build(graph, 6) if isinstance(graph, str) else graph
    refused(lambda topology: validate.require(topology, need, "mine"), topology, words)
    if need != "symmetrical":
        validate.require(build("chain", 6), need, "mine")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("complete", "'complete' of 20,000 agents has 399,980,000 weights, which need 50 GB on every rank"),
        ({"name": "erdos-renyi", "p": 0.5}, "has 199,990,000 weights, which need 25 GB"),
        ({"name": "random-regular", "degree": 19_000}, "has 380,000,000 weights"),
        ({"name": "small-world", "degree": 10_000}, "has 200,000,000 weights"),
        ({"name": "base-k", "k": 19_999}, "has 399,980,000 weights"),
    ],
)
def test_more_weights_than_a_rank_can_hold_are_refused_before_they_are_made(value, told):
    with pytest.raises(ConfigError, match=f"^graph: [^\n]*{told}[^\n]*at most 50,000,000 are held; [^\n]*$"):
        build(value, 20_000)
