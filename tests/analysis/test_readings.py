"""A reading is of a record that was measured; means and deviations are those of the closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpidl import results
from mpidl.analysis.readings import BEST, END, Instant, first_reaching, over, read, require_known, spent, spread
from mpidl.errors import ConfigError
from mpidl.results.run_file import RunFile


def written(path: Path, accuracies: list[float], losses: list[float], status: str = "finished") -> results.Run:
    """Records of every 10 rounds, 2 seconds and 1500 bytes."""
    file = RunFile.create(path, {"name": path.stem}, {}, None, 3)
    for record, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True)):
        scales = {"round": 10 * record, "epoch": record / 2, "seconds": 2.0 * record, "bytes": 1500.0 * record}
        local = np.array([accuracy, np.nan, accuracy / 2])
        file.append(
            {**scales, "test_accuracy_server": accuracy, "test_loss_server": loss, "test_accuracy_local": local}
        )
    file.finish(status)
    return results.open(file.path)


@pytest.fixture
def run(tmp_path: Path) -> results.Run:
    return written(tmp_path / "run.h5", [0.2, 0.6, 0.8, 0.7], [2.0, 1.0, 0.5, 0.6])


def test_end_best_and_budgets(run: results.Run) -> None:
    assert read(run, "test_accuracy") == (0.7, 3)
    assert read(run, "test_accuracy", BEST) == (0.8, 2) and read(run, "test_loss", BEST) == (0.5, 2)
    assert read(run, "test_accuracy_local", END).value == pytest.approx(0.525)
    for budget, record in (
        ("10 rounds", 1),
        ("19 rounds", 1),
        ("0 rounds", 0),
        ("0.5 epochs", 1),
        ("3 kB", 2),
        ("5 s", 2),
    ):
        assert read(run, "test_loss", Instant.parse(budget)).record == record, budget
    assert read(run, "test_loss", Instant.parse("30 rounds")) == (0.6, 3)
    assert spent(run, "bytes", 2) == 3000 and math.isnan(spent(run, "bytes", None))


def test_beyond_its_end_nothing_is_known_of_a_run(run: results.Run) -> None:
    assert math.isnan(read(run, "test_loss", Instant.parse("31 rounds")).value)
    assert math.isnan(read(run, "test_loss", Instant.parse("1 MB")).value)
    assert math.isnan(read(run, "nothing").value)


def test_a_target_is_reached_by_the_first_record_that_has_it(run: results.Run) -> None:
    assert first_reaching(run, "test_accuracy", 0.6).record == 1
    assert first_reaching(run, "test_loss", 0.55).record == 2
    assert first_reaching(run, "test_accuracy", 0.81).record is None


def test_the_end_of_a_run_that_diverged_is_no_number_from_before(tmp_path: Path) -> None:
    run = written(tmp_path / "run.h5", [0.2, 0.1, math.nan], [2.0, math.nan, math.nan], "diverged")
    assert read(run, "test_accuracy").value == 0.1 and math.isnan(read(run, "test_loss").value)
    assert read(run, "test_loss").record == 1


def test_a_mean_is_of_the_members_that_have_finished_and_says_of_how_many(tmp_path: Path) -> None:
    runs = [written(tmp_path / f"{seed}.h5", [0.1, seed / 10], [1, 1]) for seed in (4, 6)]
    runs += [written(tmp_path / "diverged.h5", [0.1, 0.2], [1, math.nan], "diverged")]
    found = over(runs, "test_accuracy")
    assert (found.mean, found.measured, found.members) == (pytest.approx(0.5), 2, 3)
    assert found.deviation == pytest.approx(0.2 / math.sqrt(2))
    # With a budget it counts until it has diverged.
    assert over(runs, "test_accuracy", Instant.parse("10 rounds")).measured == 3
    assert over(runs, "test_accuracy", Instant.parse("20 rounds")).measured == 0
    # Alone it is shown as it stands.
    assert over(runs[2:], "test_accuracy").mean == 0.2


def test_spreads_in_closed_form() -> None:
    assert spread([1, 2, 3, 4]) == (2.5, pytest.approx(math.sqrt(5 / 3)), 4, 4)
    assert spread([1, math.nan, 3, math.inf]) == (2, pytest.approx(math.sqrt(2)), 2, 4)
    assert spread([0.1, 0.1, 0.1]) == (0.1, 0.0, 3, 3)
    for none in ([], [math.nan]):
        assert math.isnan(spread(none).mean) and spread(none).measured == 0
    assert spread([5]).mean == 5 and math.isnan(spread([5]).deviation)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_a_deviation_is_that_of_pairs(values: list[float]) -> None:
    """s² = Σ_{i<j} (x_i − x_j)² / n(n − 1), which takes no mean."""
    n = len(values)
    pairs = sum((a - b) ** 2 for a in values for b in values) / 2
    assert spread(values).deviation == pytest.approx(math.sqrt(pairs / (n * (n - 1))), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "moment", "spoken"),
    [
        ("end", ("end", math.nan), "end"),
        ("100 rounds", ("round", 100), "100 rounds"),
        ("1 round", ("round", 1), "1 round"),
        ("2.5epochs", ("epoch", 2.5), "2.5 epochs"),
        ("10 MB", ("bytes", 1e7), "10 MB"),
        ("1e3 kB", ("bytes", 1e6), "1 MB"),
        ("10 min", ("seconds", 600), "10 min 00 s"),
    ],
)
def test_moments_are_read_and_told(text: str, moment: tuple[str, float], spoken: str) -> None:
    found = Instant.parse(text)
    assert found.kind == moment[0] and found.spent == pytest.approx(moment[1], nan_ok=True) and str(found) == spoken


@pytest.mark.parametrize("text", ["", "100", "last", "10 parsecs", "-1 rounds", "1e999 s", "nan s", "best "])
def test_what_is_no_moment_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="is no moment"):
        Instant.parse(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("100 roudns", "100 rounds"),
        ("100", "100 rounds"),
        ("5 epocs", "5 epochs"),
        ("10 seconds", "10 s"),
        ("2 hours", "2 h"),
        ("1.5 KB", "1.5 kB"),
        ("10 MiB", "10 MB"),
        ("END", "end"),
        ("last", "end"),
        ("bset", "best"),
    ],
)
def test_a_misspelt_moment_is_answered_with_what_was_meant(text: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"is no moment; did you mean '{meant}'"):
        Instant.parse(text)
    Instant.parse(meant)


def test_an_unknown_metric_is_answered_with_the_nearest(run: results.Run) -> None:
    require_known([run], ["test_accuracy", "test_loss_server"])
    with pytest.raises(ConfigError, match="metric: 'test_acuracy' is not known; did you mean 'test_accuracy'"):
        require_known([run], ["test_acuracy"])
