"""Accuracy stands beside flatness: against the number in which runs differ, with means and bands over seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the plot extra is not installed")

from mpidl.analysis import figures
from mpidl.analysis.figures import flatness
from mpidl.errors import ConfigError, ResultsError
from mpidl.results import findings
from tests.analysis.figures import looks
from tests.analysis.runs import analysed, run


def test_lines_go_along_the_number_in_which_runs_differ(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, f"{graph}-{lr}-{seed}", graph={"name": graph}, algorithm={"name": "dsgd", "lr": lr}, seed=seed)
        for lr in (0.4, 0.1)
        for graph in ("ring", "complete")
        for seed in (1, 2)
    ]
    for number, each in enumerate(runs):
        analysed(each, 1.0 + number)
    figure = flatness.draw(runs)
    looks.check(figure)
    accuracy, largest, trace = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == ["learning rate"] * 3
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "test accuracy [%]",
        "largest Hessian eigenvalue",
        "Hessian trace",
    ]
    lines = [line for line in trace.lines if line.get_linestyle() != "None"]
    # Each over two seeds.
    assert [line.get_xdata().tolist() for line in lines] == [[0.1, 0.4]] * 2
    assert [line.get_ydata().tolist() for line in lines] == [[5.5, 1.5], [7.5, 3.5]]
    assert len(trace.collections) == len(accuracy.collections) == len(largest.collections) == 2


def test_a_band_is_whole_where_it_reaches_beyond_single_runs_and_one_point_has_one(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, f"{graph}-{seed}", graph={"name": graph}, seed=seed)
        for graph in ("ring", "star")
        for seed in (1, 2)
    ]
    runs += [run(tmp_path, f"fast-{seed}", algorithm={"name": "dsgd", "lr": 0.2}, seed=seed) for seed in (1, 2)]
    for each, trace in zip(runs, (4.0, 6.0, 5.0, 5.2, 3.0, 3.1), strict=True):
        analysed(each, trace)
    (panel,) = flatness.draw(runs, ["hessian_trace"]).axes
    low, high = panel.get_ylim()
    assert low < 3.0 and high > 5 + 2**0.5
    ends = [path.vertices[:, 1] for each in panel.collections for path in each.get_paths()]
    assert [(each.min(), each.max()) for each in ends] == [
        (pytest.approx(3.05 - 0.05 * 2**0.5), pytest.approx(5 + 2**0.5)),
        (pytest.approx(5.1 - 0.1 * 2**0.5), pytest.approx(5.1 + 0.1 * 2**0.5)),
    ]


def test_rates_that_lie_decades_apart_go_onto_a_logarithmic_axis_and_counts_are_whole(tmp_path: Path) -> None:
    rates = [run(tmp_path, f"{lr}", algorithm={"name": "dsgd", "lr": lr}) for lr in (0.001, 0.03, 1.0)]
    batches = [run(tmp_path, f"b{batch}", data={"name": "digits", "batch": batch}) for batch in (2, 3, 4)]
    for each in [*rates, *batches]:
        analysed(each, 3.0)
    (panel,), (whole,) = (flatness.draw(runs, ["hessian_trace"]).axes for runs in (rates, batches))
    assert panel.get_xscale() == "log" and panel.get_xlim()[0] < 0.001 and panel.get_xlim()[1] > 1
    assert whole.get_xscale() == "linear" and whole.get_xlabel() == "data.batch"
    assert all(tick % 1 == 0 for tick in whole.get_xticks())


def test_without_a_number_settings_stand_beside_each_other(tmp_path: Path) -> None:
    runs = [run(tmp_path, graph, graph={"name": graph}) for graph in ("ring", "chain", "star")]
    for each in runs:
        analysed(each, 3.0)
    figure = figures.draw("flatness", runs, figures.Options(("hessian_trace", "test_loss")))
    looks.check(figure)
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["ring", "chain", "star"]
    assert len(figure.axes) == 2


def test_what_is_missing_or_misspelt_is_one_sentence(tmp_path: Path) -> None:
    first, second = run(tmp_path, "first"), run(tmp_path, "second", seed=2)
    with pytest.raises(ResultsError, match="no analysis lies beside these runs; mpidl analyze makes them"):
        flatness.draw([first, second])
    analysed(first, 2.0)
    with pytest.raises(ConfigError, match="did you mean 'hessian_trace'"):
        flatness.draw([first, second], ["hessian_trac"])
    # Of another run that had this name before.
    findings.beside(first.path).rename(findings.beside(second.path))
    with pytest.raises(ResultsError, match="nothing to plot"):
        flatness.draw([run(tmp_path / "elsewhere", "third")])
