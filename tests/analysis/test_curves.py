"""A picture holds the curves that there are, and no empty panel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the plot extra is not installed")

from mpidl import pictures
from mpidl.analysis import curves
from mpidl.errors import ConfigError, ResultsError
from tests.analysis.runs import run


def test_panels_are_metrics_by_axes_and_the_legend_names_the_difference(tmp_path: Path) -> None:
    figure = curves.draw([run(tmp_path, "a"), run(tmp_path, "b", graph={"name": "chain"})])
    assert [panel.get_ylabel() for panel in figure.axes[:3]] == [
        "test accuracy (consensus)",
        "test loss (consensus)",
        "consensus distance",
    ]
    assert [panel.get_xlabel() for panel in figure.axes[::3]] == ["epochs", "bytes sent by all agents"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ring", "chain"]
    accuracy = figure.axes[0].lines[1]
    assert accuracy.get_xdata().tolist() == [0, 1, 2, 3, 4]
    assert accuracy.get_ydata()[-1] == 0.9


def test_a_legend_of_long_names_is_no_wider_than_the_picture(tmp_path: Path) -> None:
    figure = curves.draw([run(tmp_path, name, graph={"name": name}) for name in ("a" * 60, "b" * 60, "c" * 60)])
    figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().width <= figure.bbox.width


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", ["\udcff", r"$\frac{$ and $", "_hidden", "x" * 10_000])
def test_a_text_of_a_file_is_no_formula_and_no_burden(tmp_path: Path, text: str) -> None:
    first, second = run(tmp_path, "a"), run(tmp_path, "b")
    units = first.quantities | {"test_loss_consensus": (text, "")}
    figure = curves.draw([replace(first, name=text, quantities=units), second])
    figure.draw_without_rendering()
    for shown in (figure.axes[1].get_ylabel(), figure.legends[0].get_texts()[0].get_text()):
        assert 0 < len(shown) < 250 and shown.isprintable()
    assert len(figure.legends[0].get_texts()) == 2


def test_lines_differ_in_more_than_colour(tmp_path: Path) -> None:
    figure = curves.draw([run(tmp_path, f"run-{seed}", seed=seed) for seed in range(8)])
    styles = [(line.get_linestyle(), line.get_marker()) for line in figure.axes[0].lines]
    assert len(set(styles)) == len(styles)


def test_a_metric_that_no_run_has_gets_no_panel(tmp_path: Path) -> None:
    figure = curves.draw([run(tmp_path, "central", graph=None)])
    assert len(figure.axes) == 2 * 2


def test_other_metrics_and_axes_can_be_named(tmp_path: Path) -> None:
    figure = curves.draw([run(tmp_path, "a")], ["test_accuracy_local"], ["round", "seconds"])
    assert [panel.get_xlabel() for panel in figure.axes] == ["rounds", "seconds"]


def test_unknown_metrics_and_axes_are_named_with_the_nearest(tmp_path: Path) -> None:
    runs = [run(tmp_path, "a")]
    with pytest.raises(ConfigError, match="did you mean 'consensus_distance'"):
        curves.draw(runs, ["consensus_distanc"])
    with pytest.raises(ConfigError, match="did you mean 'epoch'"):
        curves.draw(runs, axes=["epochs"])
    with pytest.raises(ConfigError, match="did you mean 'seconds'"):
        curves.draw(runs, axes=["time"])


def test_runs_without_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="nothing to plot"):
        curves.draw([run(tmp_path, "empty", records=0)])


@pytest.mark.parametrize("name", ["picture.png", "picture.svg", "picture.pdf"])
def test_pictures_are_written_by_their_ending(tmp_path: Path, name: str) -> None:
    pictures.save(curves.draw([run(tmp_path, "a")], ["test_loss"], ["epoch"]), tmp_path / name, "-o")
    assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize("name", ["picture.xyz", "nowhere/picture.png"])
def test_a_picture_that_cannot_be_written_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="^-o: .*(must end in one of|cannot be written: )") as caught:
        pictures.check(tmp_path / name, "-o")
        pictures.save(curves.draw([run(tmp_path, "a")], ["test_loss"], ["epoch"]), tmp_path / name, "-o")
    assert "\n" not in str(caught.value)
