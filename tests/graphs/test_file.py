"""Edge lists: what a line means, and every way in which a file can be wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidl.errors import ConfigError
from mpidl.graphs import GRAPHS
from mpidl.graphs.validate import require_connected, require_doubly_stochastic


def build(path, text, agents, **keys):
    path.write_text(text, encoding="utf-8")
    return GRAPHS.parse({"name": "file", "path": str(path), **keys}).build(agents, 0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "edges.txt"


def test_edges_without_weights_take_a_rule(path):
    text = "# a triangle with a tail\n0 1\n1,2  # commas will do\n\n2 0\n2\t3\n"
    topology = build(path, text, 4)
    require_doubly_stochastic(topology)
    assert topology.at(0).neighbours == ((1, 2), (0, 2), (0, 1, 3), (2,))
    assert topology.at(0).weights[3] == (0.25,)
    assert build(path, text, 4, weights="lazy").at(0).weights[3] == (0.125,)


def test_a_directed_line_names_the_sender_first(path):
    mixing = build(path, "0 1\n1 2\n2 0\n0 2\n", 3, directed=True).at(0)
    assert mixing.receivers == ((1, 2), (2,), (0,))
    assert mixing.column_stochastic and not mixing.row_stochastic
    assert mixing.dense()[2, 0] == pytest.approx(1 / 3)


def test_given_weights_are_kept_and_self_weights_follow(path):
    mixing = build(path, "0 1 0.3\n1 2 0.7\n", 3).at(0)
    assert np.allclose(mixing.dense(), [[0.7, 0.3, 0], [0.3, 0, 0.7], [0, 0.7, 0.3]], atol=1e-15)
    mixing = build(path, "0 1 0.3\n1 0 0.2\n1 1 0.9\n", 2, directed=True).at(0)
    assert mixing.dense().tolist() == [[0.7, 0.2], [0.3, 0.9]]
    assert build(path, "0 1 0.3\n1 2 0.7\n", 3, weights="uniform").at(0).weights[0] == (1 / 3,)
    tenths = "".join(f"0 {i} 0.1\n" for i in range(1, 11))
    assert build(path, tenths, 11).at(0).self_weights[0] == 0


def test_one_agent_needs_no_edges(path):
    assert build(path, "# alone\n", 1).at(0).dense().tolist() == [[1.0]]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data())
def test_what_was_written_is_read(tmp_path_factory, data):
    agents = data.draw(st.integers(2, 12))
    pairs = st.tuples(st.integers(0, agents - 1), st.integers(0, agents - 1)).filter(lambda pair: pair[0] < pair[1])
    edges = sorted(data.draw(st.sets(pairs, min_size=1)) | {(0, agents - 1)})
    weights = [data.draw(st.floats(1e-6, 1 / agents)) for _ in edges]
    expected = np.zeros((agents, agents))
    for (i, j), weight in zip(edges, weights, strict=True):
        expected[i, j] = expected[j, i] = weight
    expected += np.diag(1 - expected.sum(0))
    text = "\n".join(f"{j} {i} {weight!r}" for (i, j), weight in zip(edges, weights, strict=True))
    mixing = build(tmp_path_factory.mktemp("edges") / "edges.txt", text, agents).at(0)
    assert np.allclose(mixing.dense(), expected, atol=1e-15)
    assert mixing.symmetric and mixing.column_stochastic


@pytest.mark.parametrize(
    ("text", "agents", "keys", "words"),
    [
        ("0 1\n1 two\n", 3, {}, "line 2: 'two' is not the number of an agent"),
        ("0 1\n1\n", 2, {}, "line 2: '1' is not 'agent agent'"),
        ("0 1 0.5 7\n", 2, {}, "line 1: '0 1 0.5 7' is not"),
        ("0 -1\n", 2, {}, "'-1' is not the number of an agent"),
        ("0 1.0\n", 2, {}, "'1.0' is not the number of an agent"),
        ("0 99999999999999\n", 2, {}, "is not the number of an agent"),
        ("0 1 half\n", 2, {}, "'half' is not a weight"),
        ("0 1 nan\n", 2, {}, "the weight nan is not a positive number"),
        ("0 1 inf\n", 2, {}, "the weight inf is not a positive number"),
        ("0 1 -0.5\n", 2, {}, "the weight -0.5 is not a positive number"),
        ("0 1 0\n", 2, {}, "the weight 0 is not a positive number"),
        ("0 0 -0.1\n0 1 0.5\n", 2, {}, "the weight -0.1 is not a positive number"),
        (
            "0 1 0.5\n0 0 0.5\n1 1 0.5\n0 0 0.5\n",
            2,
            {},
            "line 4: gives the self-loop of agent 0 again (first on line 2)",
        ),
        ("0 1\n1 0\n", 2, {}, "line 2: gives the edge 0 1 again (first on line 1)"),
        ("0 1\n0 1\n", 2, {"directed": True}, "line 2: gives the edge 0 1 again"),
        ("0 1\n1 1\n", 2, {}, "line 2: a self-loop needs its weight"),
        ("0 1 0.5\n1 2\n", 3, {}, "line 2: lacks the weight others have"),
        ("0 1\n1 2 0.5\n", 3, {}, "line 2: has a weight where others have none"),
        ("0 1\n1 2\n", 16, {}, "has 3 agents (0 to 2), not 16"),
        ("0 1\n1 2\n", 2, {}, "has 3 agents (0 to 2), not 2"),
        ("", 4, {}, "has no edges, but there are 4 agents"),
        ("0 1 0.8\n1 2 0.45\n", 3, {}, "the weights at agent 1 sum to 1.25, above 1"),
        ("0 1\n", 2, {"weights": "given"}, "has no weights; add a third column"),
        ("0 1\n1 0\n", 2, {"weights": "metropolis", "directed": True}, "'metropolis' is a rule for undirected graphs"),
        ("0 1\n", 2, {"weights": "gvien"}, "weights: 'gvien' is not known; did you mean 'given'?"),
    ],
)
def test_a_bad_file_is_one_sentence_with_the_line(path, text, agents, keys, words):
    with pytest.raises(ConfigError, match="^[^\n]*$") as error:
        build(path, text, agents, **keys)
    assert words in str(error.value)


def test_sums_given_in_full_are_checked(path):
    topology = build(path, "0 1 0.5\n0 0 0.75\n1 1 0.5\n", 2)
    with pytest.raises(ConfigError, match="row 0 sum to 1.25"):
        require_doubly_stochastic(topology)


def test_a_file_of_two_halves_is_not_connected(path):
    with pytest.raises(ConfigError, match="not connected: nothing from agent 2 ever reaches agent 0"):
        require_connected(build(path, "0 1\n2 3\n", 4))


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    for name, words in (("missing.txt", "No such file"), ("", "Is a directory")):
        with pytest.raises(ConfigError, match=words):
            GRAPHS.parse({"name": "file", "path": str(tmp_path / name)}).build(2, 0)
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    with pytest.raises(ConfigError, match="not a text file"):
        GRAPHS.parse({"name": "file", "path": str(tmp_path / "binary")}).build(2, 0)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=60) | st.text("0123 .-#,e\nna", max_size=40).map(str.encode))
def test_no_file_ends_in_anything_but_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.txt"
    path.write_bytes(content)
    try:
        GRAPHS.parse({"name": "file", "path": str(path)}).build(3, 0)
    except ConfigError as error:
        assert "\n" not in str(error)
