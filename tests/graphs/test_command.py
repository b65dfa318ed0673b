"""`mpidl graph` prints, ranks and draws."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from mpidl.cli.graph import graph
from mpidl.errors import ConfigError


def answer(*words: str) -> str:
    result = CliRunner().invoke(graph, words, catch_exceptions=False, standalone_mode=False)
    return result.output


def row(text: str, label: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(label)).strip()


def test_it_prints_the_facts():
    text = answer("grid", "-n", "16", "-s", "rows=4", "-p", "1000")
    assert row(text, "σ₂").endswith("0.8686")
    assert row(text, "λ_min").endswith("-0.4308")
    assert row(text, "diameter").endswith(" 6")
    assert row(text, "messages per round").endswith(" 48")
    assert "192 kB" in row(text, "bytes per round")


def test_it_ranks_the_fastest_first():
    text = answer("--compare", "ring,torus,exponential,one-peer-exponential,one-peer-matching", "-n", "16")
    names = [
        line.split()[0] for line in text.splitlines() if line.strip() and line.split()[-1].replace(",", "").isdigit()
    ]
    assert names[0] == "one-peer-exponential" and names[-1] == "ring" and len(names) == 5


def test_it_says_what_is_wrong_with_a_graph():
    assert "not doubly stochastic" in answer("star", "-n", "5", "-s", "weights=out-degree")
    assert "(negative)" in answer("star", "-n", "8", "-s", "weights=best-constant")


DRAWN = ["star", "exponential", "base-k -n 6", "torus -n 1", "one-peer-matching", "star -s weights=best-constant"]
DRAWN += ["--compare ring,dyck,one-peer-matching", "star --compare ring"]


@pytest.mark.parametrize("words", DRAWN)
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_it_draws(tmp_path, words, suffix):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"graph.{suffix}"
    assert f"drawn: {path}" in answer(*words.split(), "--plot", str(path))
    assert path.stat().st_size > 2000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give a graph (alternating,"),
        (["rng"], "did you mean 'ring'?"),
        (["hypercube", "-n", "12"], "the nearest are 8 and 16"),
        (["ring", "-s", "rows=3"], "rows: 'rows' is not known"),
        (["--compare", "ring,toros"], "--compare: graph 'toros' is not known; did you mean 'torus'?"),
        (["--compare", "petersen,dyck"], "--compare: none of these graphs has 16 agents"),
        (["petersen"], "the Petersen graph has 10 agents, not 16; take agents: 10 (-n 10)"),
        (["--compare", "ring", "-s", "weights=lazy"], "-s belongs to a graph given as NAME"),
        (["ring", "--plot", "x.pgf"], "must end in one of .png, .pdf, .svg"),
    ],
)
def test_misuse_is_one_sentence(words, message):
    with pytest.raises(ConfigError, match="^[^\n]*$") as error:
        answer(*words)
    assert message in str(error.value)


def test_an_unwritable_picture_is_one_sentence(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(ConfigError, match="^--plot: the picture '.*' cannot be written: No such file or directory$"):
        answer("ring", "--plot", str(tmp_path / "missing" / "ring.png"))
