"""A picture holds the curves that there are, seeds as bands, on axes on which they can be told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the plot extra is not installed")

from mpidl import pictures
from mpidl.analysis.figures import curves
from mpidl.analysis.groups import alone
from mpidl.errors import ConfigError, ResultsError
from tests.analysis.figures.drawn import written
from tests.analysis.runs import run


def legend(figure) -> list[str]:
    """The labels of lines."""
    return [text.get_text() for part in figure.subfigs for each in part.legends for text in each.get_texts()]


def test_panels_are_metrics_by_axes_and_the_legend_names_the_difference(tmp_path: Path) -> None:
    figure = curves.draw([run(tmp_path, "a"), run(tmp_path, "b", graph={"name": "chain"})])
    assert [panel.get_ylabel() for panel in figure.axes[:3]] == [
        "test error (consensus) [%]",
        "test loss (consensus)",
        "consensus distance",
    ]
    assert [panel.get_xlabel() for panel in figure.axes[::3]] == ["epochs", "sent by all agents [bytes]"]
    assert legend(figure) == ["ring", "chain"]
    errors = figure.axes[0].lines[1]
    assert errors.get_xdata().tolist() == [0, 1, 2, 3, 4]
    assert errors.get_ydata()[-1] == pytest.approx(0.1)


def test_nine_runs_of_three_settings_are_three_lines_with_bands(tmp_path: Path) -> None:
    accuracies = np.array([[0.1, 0.5], [0.1, 0.6], [0.1, 0.7]])
    runs = [
        written(
            tmp_path,
            f"{lr}-{seed}",
            {"test_accuracy_consensus": accuracies[seed] + 0.01 * lr},
            seed=seed,
            algorithm={"name": "dsgd", "lr": lr},
        )
        for lr in (1, 2, 3)
        for seed in range(3)
    ]
    figure = curves.draw(runs, ["test_accuracy"], ["round"])
    (panel,) = figure.axes
    assert legend(figure) == ["lr 1", "lr 2", "lr 3"] and len(panel.lines) == len(panel.collections) == 3
    assert panel.lines[1].get_ydata() == pytest.approx([0.12, 0.62])
    band = panel.collections[1].get_paths()[0].vertices
    # The deviation of 0.5, 0.6 and 0.7, as of a sample, is 0.1.
    assert sorted(set(band[band[:, 0] == 10, 1].round(6))) == [0.52, 0.72]
    notes = [text.get_text() for part in figure.subfigs for text in part.texts]
    assert any("mean ± one standard deviation over 3 runs" in note for note in notes)
    assert len(curves.draw(runs, ["test_accuracy"], ["round"], groups=alone(runs)).axes[0].lines) == 9


def test_a_mean_ends_where_one_of_its_runs_does(tmp_path: Path) -> None:
    whole = written(tmp_path, "whole", {"test_loss_consensus": [3.0, 2.0, 1.0]}, seed=1)
    ended = written(tmp_path, "ended", {"test_loss_consensus": [5.0, 4.0]}, seed=2)
    diverged = written(tmp_path, "diverged", {"test_loss_consensus": [5.0, np.inf, np.nan]}, seed=3)
    (line,) = curves.draw([whole, ended], ["test_loss"], ["round"]).axes[0].lines
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([0, 10], [4, 3])
    (line,) = curves.draw([whole, ended, diverged], ["test_loss"], ["round"]).axes[0].lines
    assert line.get_xdata().tolist() == [0]


def test_accuracies_are_errors_on_a_logarithmic_axis_where_some_are_near_the_top(tmp_path: Path) -> None:
    high = written(tmp_path, "high", {"test_accuracy_consensus": [0.1, 0.99, 1.0]})
    low = written(tmp_path, "low", {"test_accuracy_consensus": [0.1, 0.3, 0.5]})
    (panel,) = curves.draw([high], ["test_accuracy"], ["round"]).axes
    assert (panel.get_yscale(), panel.get_ylabel()) == ("log", "test error (consensus) [%]")
    # No error at all has a place of its own, below the least that there is.
    figure = curves.draw([high], ["test_accuracy"], ["round"])
    figure.draw_without_rendering()
    (panel,) = figure.axes
    assert panel.lines[0].get_ydata()[-1] == pytest.approx(0.005)
    assert panel.get_yticklabels()[0].get_text() == "0"
    (panel,) = curves.draw([high], ["test_accuracy"], ["round"], as_they_are=True).axes
    assert (panel.get_yscale(), panel.get_ylabel()) == ("linear", "test accuracy (consensus) [%]")
    (panel,) = curves.draw([low], ["test_accuracy"], ["round"]).axes
    assert (panel.get_yscale(), panel.get_ylabel()) == ("linear", "test accuracy (consensus) [%]")


def test_any_metric_is_drawn_by_the_name_that_it_has_whatever_model_stands_for_the_run(tmp_path: Path) -> None:
    run = written(tmp_path, "run", {"validation_loss_server": [2.0, 1.0]})
    (panel,) = curves.draw([run], ["validation_loss"], ["round"]).axes
    assert panel.get_ylabel() == "validation loss (server)"


def test_rounding_stretches_no_panel_and_is_told(tmp_path: Path) -> None:
    ring = written(tmp_path, "ring", {"consensus_distance": [1e-14, 1.0, 0.1]})
    exact = written(tmp_path, "exact", {"consensus_distance": [1e-14, 1e-13, 2e-13]}, graph={"name": "complete"})
    figure = curves.draw([ring, exact], ["consensus_distance"], ["round"])
    low, high = figure.axes[0].get_ylim()
    assert 0.05 < low < 0.1 and 1 < high < 2
    notes = [text.get_text() for part in figure.subfigs for text in part.texts]
    assert any("Below the panel of consensus distance, being zero or rounding: complete." in note for note in notes)


def test_what_is_zero_throughout_is_told_and_widens_no_panel(tmp_path: Path) -> None:
    ring = written(tmp_path, "ring", {"consensus_distance": [0.0, 1.0, 0.1], "bytes": [0, 10, 20]})
    same = {"consensus_distance": [0.0, 0.0, 0.0], "bytes": [0, 50, 100]}
    figure = curves.draw([ring, written(tmp_path, "all", same, graph={"name": "complete"})], ["consensus_distance"])
    notes = [text.get_text() for part in figure.subfigs for text in part.texts]
    assert any("consensus distance, being zero or rounding: complete." in note for note in notes)
    assert [panel.get_xlim()[1] < 25 for panel in figure.axes] == [True, True]


def test_bands_are_within_their_panel_as_far_as_their_lines_are_from_nothing(tmp_path: Path) -> None:
    losses = ([2.0, 0.9], [2.4, 1.5], [4.0, 1.2])
    runs = [
        written(tmp_path, f"{seed}", {"test_loss_consensus": loss, "test_accuracy_consensus": [0.01, 0.99]}, seed=seed)
        for seed, loss in enumerate(losses)
    ]
    figure = curves.draw([*runs, written(tmp_path, "wide", {"test_loss_consensus": [2.0, 1.5]}, data="mnist")])
    loss = next(panel for panel in figure.axes if panel.get_ylabel().startswith("test loss"))
    low, high = loss.get_ylim()
    assert low < 1.2 - 0.3 and high > 2.8 + 1.05
    # A band to nothing leaves the axis its room.
    wide = [written(tmp_path, f"wide{each}", {"test_loss_consensus": [1.0, each]}, seed=each) for each in (1, 9)]
    assert 0.9 < curves.draw(wide).axes[0].get_ylim()[0] < 1


def test_no_band_says_that_more_than_all_is_wrong(tmp_path: Path) -> None:
    runs = [
        written(tmp_path, str(seed), {"test_accuracy_consensus": [first, 0.99]}, seed=seed)
        for seed, first in enumerate((0.0, 0.0, 0.3))
    ]
    (band,) = curves.draw(runs, ["test_accuracy"], ["round"]).axes[0].collections
    assert band.get_paths()[0].vertices[:, 1].max() == 1.0


def test_bytes_that_are_far_apart_go_onto_a_logarithmic_axis(tmp_path: Path) -> None:
    much = written(tmp_path, "much", {"test_loss_consensus": [2.0, 1.0], "bytes": [0, 1e6]})
    little = written(
        tmp_path, "little", {"test_loss_consensus": [2.0, 1.0], "bytes": [0, 1e4]}, graph={"name": "chain"}
    )
    figure = curves.draw([much, little], ["test_loss"], ["bytes"])
    figure.draw_without_rendering()
    (panel,) = figure.axes
    assert panel.get_xscale() == "log"
    # What was before anything was sent has a place of its own.
    assert [line.get_xdata().tolist() for line in panel.lines] == [[5e3, 1e6], [5e3, 1e4]]
    assert panel.get_xlim()[0] < 5e3 and panel.get_xticklabels()[0].get_text() == "0"
    assert curves.draw([much], ["test_loss"], ["bytes"]).axes[0].get_xscale() == "linear"


def test_an_axis_along_which_nothing_moves_is_left_out(tmp_path: Path) -> None:
    single = written(tmp_path, "single", {"test_loss_consensus": [2.0, 1.0], "bytes": [0, 0]})
    assert [panel.get_xlabel() for panel in curves.draw([single], ["test_loss"]).axes] == ["epochs"]
    assert len(curves.draw([single], ["test_loss"], ["bytes"]).axes) == 1


def test_time_has_round_numbers_of_its_unit(tmp_path: Path) -> None:
    run = written(tmp_path, "long", {"test_loss_consensus": [2.0, 1.0], "seconds": [0, 190.0]})
    figure = curves.draw([run], ["test_loss"], ["seconds"])
    figure.draw_without_rendering()
    (panel,) = figure.axes
    assert panel.get_xlabel() == "time [min]"
    assert [text.get_text() for text in panel.get_xticklabels()] == ["0", "1", "2", "3"]


def test_a_legend_of_long_names_is_no_wider_than_the_picture(tmp_path: Path) -> None:
    figure = curves.draw(
        [run(tmp_path, name, graph={"name": name}) for name in ("a" * 60, "b" * 60, "c" * 60)], ["test_loss"]
    )
    figure.draw_without_rendering()
    (shown,) = [each for part in figure.subfigs for each in part.legends]
    assert shown.get_window_extent().width <= figure.bbox.width


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", ["\udcff", r"$\frac{$ and $", "_hidden", "x" * 10_000])
def test_a_text_of_a_file_is_no_formula_and_no_burden(tmp_path: Path, text: str) -> None:
    first, second = run(tmp_path, "a"), run(tmp_path, "b")
    units = first.quantities | {"test_loss_consensus": (text, "")}
    figure = curves.draw([replace(first, name=text, quantities=units), second], ["test_loss"], ["epoch"])
    figure.draw_without_rendering()
    for shown in (figure.axes[0].get_ylabel(), legend(figure)[0].replace("\n", "")):
        assert 0 < len(shown) < 250 and shown.isprintable()
    assert len(legend(figure)) == 2


def test_lines_differ_in_more_than_colour(tmp_path: Path) -> None:
    runs = [run(tmp_path, f"run-{seed}", seed=seed) for seed in range(8)]
    figure = curves.draw(runs, ["test_loss"], ["epoch"], groups=alone(runs))
    styles = [(line.get_linestyle(), line.get_marker()) for line in figure.axes[0].lines]
    assert len(set(styles)) == len(styles) == 8


def test_a_metric_that_no_run_has_gets_no_panel(tmp_path: Path) -> None:
    figure = curves.draw([run(tmp_path, "central", graph=None)])
    assert len(figure.axes) == 2 * 2


def test_other_metrics_and_axes_can_be_named(tmp_path: Path) -> None:
    figure = curves.draw([run(tmp_path, "a")], ["test_accuracy_local"], ["round", "seconds"])
    assert [panel.get_xlabel() for panel in figure.axes] == ["rounds", "time [s]"]


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
