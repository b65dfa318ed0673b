"""Every kind of picture can be read: texts apart and inside, no empty panel, and numbers that are those of the runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the plot extra is not installed")

from mpidl import results
from mpidl.analysis.figures import KINDS, Options, draw, spread, timing
from mpidl.errors import ConfigError, ResultsError
from tests.analysis.figures import looks
from tests.analysis.figures.drawn import learning, written
from tests.analysis.runs import analysed

LONG = {"name": "q-saddle", "lr": 0.1, "momentum": 0.9, "rho": 0.05, "nesterov": True, "weight_decay": 1e-4}
DATA = {"name": "digits", "batch": 32, "split": {"name": "dirichlet-class", "alpha": 0.1}}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Sequence[results.Run]:
    """A single run."""
    given = {"data": DATA, "model": "logistic", "train": {"rounds": 80}}
    only = learning(tmp_path_factory.mktemp("few"), "only", **given)
    analysed(only, 12.0)
    return [only]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Sequence[results.Run]:
    """Five methods, one with three seeds, one of them federated, with long labels."""
    folder = tmp_path_factory.mktemp("many")
    given = {"data": DATA, "model": "logistic", "train": {"rounds": 80}}
    methods = [{"name": "dsgd", "lr": 0.1}, LONG, LONG | {"rho": 0.2}, {"name": "d2", "lr": 0.05}]
    runs = [
        learning(folder, f"m{index}", 0.9 + 0.02 * index, algorithm=each, **given) for index, each in enumerate(methods)
    ]
    runs += [learning(folder, f"s{seed}", seed=seed, algorithm=methods[0], **given) for seed in (2, 3)]
    runs.append(learning(folder, "feddyn", 0.97, algorithm={"name": "feddyn", "lr": 0.1}, graph=None, **given))
    for number, run in enumerate(runs):
        analysed(run, 10.0 + number)
    return runs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["few", "many"])
def test_every_kind_can_be_read(kind: str, which: str, request: pytest.FixtureRequest) -> None:
    looks.check(draw(kind, request.getfixturevalue(which)))


def test_a_title_and_each_run_can_be_asked_for(many: Sequence[results.Run]) -> None:
    figure = draw("cost", many, Options(metrics=("test_loss",), axes=("epoch",), group=False, title="A title of $5"))
    looks.check(figure)
    assert figure.subfigs[0].texts[0].get_text() == r"A title of \$5" and len(figure.axes[0].lines) == 7


def test_the_spread_is_median_and_range_over_agents_of_all_seeds(tmp_path: Path) -> None:
    values = [[[0.1, 0.2, 0.3], [0.4, 0.5, 0.9]], [[0.2, 0.2, 0.2], [0.3, 0.6, 0.7]]]
    runs = [written(tmp_path, f"s{seed}", {"test_accuracy_local": rows}, seed=seed) for seed, rows in enumerate(values)]
    curves, ends = spread.draw(runs, ["test_accuracy_local"]).axes
    assert curves.lines[0].get_ydata() == pytest.approx([0.2, 0.55])
    band = curves.collections[0].get_paths()[0].vertices
    assert {0.3, 0.9} <= set(band[band[:, 0] == 10, 1].round(6))
    assert ends.lines[0].get_ydata() == pytest.approx([0.4, 0.5, 0.9, 0.3, 0.6, 0.7])


def test_bars_of_time_add_up_to_the_whole(few: Sequence[results.Run]) -> None:
    (axes,) = timing.draw(few).axes
    ends = np.zeros(2)
    for bar in axes.patches:
        ends[round(bar.get_y() + bar.get_height() / 2)] += bar.get_width()
    # Of every rank from the start to the last record, 16 s, whatever meters have counted.
    assert ends == pytest.approx([16, 16])


def test_more_bars_than_can_be_read_are_refused(few: Sequence[results.Run]) -> None:
    runs = [replace(few[0], name=str(number), config_text=f"seed: {number}") for number in range(101)]
    with pytest.raises(ConfigError, match="^RUN.h5: these runs make 101 bars; name fewer of them, up to 100$"):
        draw("timing", runs, Options(group=False))


def test_what_a_kind_has_none_of_is_one_sentence(few: Sequence[results.Run], tmp_path: Path) -> None:
    empty = written(tmp_path, "empty", {"test_loss_consensus": []}, graph=None)
    for kind in ("curves", "cost", "consensus", "spread", "graph", "timing"):
        with pytest.raises(ResultsError, match=r"^nothing to plot[^\n]*$"):
            draw(kind, [empty])
    with pytest.raises(ConfigError, match=r"did you mean 'curves'\?"):
        draw("curve", few)
    with pytest.raises(ConfigError, match="timing has its own metrics; they can be chosen for curves, cost"):
        draw("timing", few, Options(metrics=("test_loss",)))
    with pytest.raises(ConfigError, match="graph has its own groups; they can be chosen for curves, cost"):
        draw("graph", few, Options(by=("algorithm",)))
    with pytest.raises(ConfigError, match="consensus_distance is one number for all agents"):
        draw("spread", few, Options(metrics=("consensus_distance",)))


@pytest.mark.parametrize("wrong", [{"edges": [[0, 7]]}, {"weights": [0.5]}, {"self_weights": [1.0]}, {"edges": "none"}])
def test_a_damaged_graph_is_one_sentence(few: Sequence[results.Run], wrong: dict[str, object]) -> None:
    (run,) = few
    assert run.graph is not None
    with pytest.raises(ResultsError, match="is damaged: its graph cannot be drawn"):
        draw("graph", [replace(run, graph=run.graph | wrong)])
