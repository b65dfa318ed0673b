"""Curves of several runs: a panel for each metric and axis, and one legend that names only what differs.

Runs that differ in nothing but their seed are one line, the mean over them, in a band of one standard deviation. How
axes are divided follows from what is drawn along them: see `mpidl.pictures.scales`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mpidl.analysis.figures import series
from mpidl.analysis.figures.lines import Line, legend, lines_of, sizes
from mpidl.analysis.figures.series import MeanCurve
from mpidl.analysis.groups import RunGroup
from mpidl.analysis.readings import metric_of, require_known
from mpidl.errors import ConfigError, ResultsError, choices_sentence
from mpidl.pictures import words
from mpidl.pictures.scales import ROUNDING, Limits, apart, divide, divide_time, linear, logarithmic, near_the_top
from mpidl.pictures.style import dress, framed
from mpidl.results import Run
from mpidl.results.names import SCALES
from mpidl.spoken import is_fraction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = ("test_accuracy", "test_loss", "consensus_distance")
AXES = ("epoch", "bytes")
OWN = ("test_accuracy_local", "test_loss_local")
"""What agents' own models reach, a value for each."""

# What else axes are called.
_MEANT = {
    **dict.fromkeys(("time", "walltime", "wall_time", "wall_clock"), "seconds"),
    **dict.fromkeys(("iteration", "iterations", "step", "steps"), "round"),
    **dict.fromkeys(("communication", "traffic"), "bytes"),
}

# What is seen best on a logarithmic axis, by what its name holds.
_LOGARITHMIC = ("loss", "distance", "norm", "variance")


@dataclass(frozen=True)
class Measure:
    """How a metric is shown: under which words, accuracies as what is wrong where they are near the top, and where."""

    words: str
    limits: Limits
    units: str
    wrong: bool = False

    def of(self, values: np.ndarray) -> np.ndarray:
        """Where values are drawn."""
        return self.limits.place(_wrong(values) if self.wrong else values)

    def shows(self, line: MeanCurve) -> bool:
        """Whether any of a line lies within the panel, and not below it."""
        # On a logarithmic axis zero has no place, which is not one within it.
        return bool((self.of(line.mean) >= self.limits.low).any())


def draw(
    runs: Sequence[Run],
    metrics: Sequence[str] = METRICS,
    axes: Sequence[str] = AXES,
    *,
    groups: Sequence[RunGroup[Run]] | None = None,
    title: str | None = None,
    as_they_are: bool = False,
) -> Figure:
    """One picture of these runs, a line for each of `groups`; by default, runs that differ in their seed alone are one.

    `test_loss` stands for that of each run's consensus or server model. Metrics and axes that no run has a value of
    that can be drawn are left out; so is a run from panels that it lacks. Accuracies and losses are drawn `as_they_are`
    on linear axes if that is wished for.
    """
    refuse_unknown(runs, metrics, axes)
    lines, frame = lines_of(runs, groups, title)
    every = {
        (metric, axis): [series.of_runs(line.runs, metric, axis) for line in lines]
        for metric in metrics
        for axis in axes
    }
    shown = [metric for metric in metrics if any(any(map(_any, every[metric, axis])) for axis in axes)]
    across = [axis for axis in axes if any(any(map(_any, every[metric, axis])) for metric in shown)]
    # Along an axis on which nothing has moved, such as the bytes of one agent, there is nothing to see.
    across = [axis for axis in across if any(_moves(every[metric, axis]) for metric in shown)] or across
    if not across:
        raise ResultsError(f"nothing to plot: no run has values of {', '.join(metrics)} against {', '.join(axes)} yet")
    measures = {
        metric: measure(runs, metric, [line for axis in across for line in every[metric, axis]], as_they_are)
        for metric in shown
    }
    entries, absent = legend(lines, [any(_any(curves[line.index]) for curves in every.values()) for line in lines])
    notes = [*_notes(lines, measures, every, across[0]), *absent, *frame.notes]
    # Of one metric, panels lie beside each other: its values are at the same height.
    places = [(metric, axis) for axis in across for metric in shown]
    rows, columns = (1, len(across)) if len(shown) == 1 else (len(across), len(shown))
    width, height = 1 + 3.6 * columns + 1.2 * (columns == 1), 2.7 * rows + 0.5 * (rows == 1)
    figure, body = framed(width, height, frame.title, entries, notes)
    for panel, (metric, axis) in zip(body.subplots(rows, columns, squeeze=False).flat, places, strict=True):
        curves, shown_as = every[metric, axis], measures[metric]
        # What lies below a panel makes it no wider.
        seen = list(filter(shown_as.shows, curves))
        limits = limits_across(axis, [line.across for line in seen or filter(_any, curves)])
        _fill(panel, lines, curves, shown_as, limits)
        divide_across(panel, axis, limits)
    return figure


def _any(line: MeanCurve) -> bool:
    return bool(line.across.size)


def _moves(drawn: Iterable[MeanCurve]) -> bool:
    return any((line.across > 0).any() for line in drawn)


def refuse_unknown(runs: Sequence[Run], metrics: Sequence[str], axes: Sequence[str]) -> None:
    """ConfigError about metrics that no run has, and about what is no axis."""
    require_known(runs, metrics, others=(*METRICS, *OWN))
    for axis in axes:
        if axis not in SCALES:
            raise ConfigError(choices_sentence(axis, SCALES, _MEANT.get(axis)), "axis")


def measure(runs: Sequence[Run], metric: str, drawn: Sequence[MeanCurve], as_they_are: bool = False) -> Measure:
    """How a metric of these runs is shown, of which these lines and bands are drawn."""
    wrong = is_fraction(metric) and not as_they_are and near_the_top(line.mean for line in drawn)
    values = [_wrong(line.mean) if wrong else line.mean for line in drawn if line.across.size]
    ends = [each for line in drawn for each in (line.low, line.high)]
    limits = None
    spans = not as_they_are and any(word in metric for word in _LOGARITHMIC)
    if wrong or spans and not any((line < 0).any() for line in values):
        bands = list(map(_wrong, ends)) if wrong else ends
        limits = logarithmic(values, ROUNDING[_precision(runs)], with_zero=wrong, bands=bands)
    limits = limits or linear(ends)
    units = "%" if is_fraction(metric) else "1"
    return Measure(titled(runs, metric, wrong), limits, units, wrong)


def _wrong(accuracies: np.ndarray) -> np.ndarray:
    """The shares that are wrong: of a band, whatever its deviation, no more than all."""
    return np.minimum(1 - accuracies, 1.0)


def _precision(runs: Sequence[Run]) -> str:
    """That of the most precise of the runs."""
    trains = [run.sections().get("train") for run in runs]
    return (
        "float64"
        if any(isinstance(each, dict) and each.get("precision") == "float64" for each in trains)
        else "float32"
    )


def _fill(panel: Axes, lines: Sequence[Line], drawn: Sequence[MeanCurve], shown: Measure, limits: Limits) -> None:
    for line, values in zip(lines, drawn, strict=True):
        across = limits.place(values.across)
        panel.plot(across, shown.of(values.mean), markevery=line.marked(len(across), len(lines)), **line.style)
        if values.runs > 1:
            low, high = (np.clip(shown.of(each), shown.limits.low, None) for each in (values.low, values.high))
            panel.fill_between(across, low, high, color=line.style["color"], alpha=0.18, linewidth=0)
    divide(panel, "y", shown.limits, shown.units)
    dress(panel, panel.get_xlabel(), words(shown.words))


def limits_across(axis: str, drawn: Sequence[np.ndarray]) -> Limits:
    """What values are drawn against, from where it begins to where it ends: here, too, is their `place`."""
    low, high = min(float(each.min()) for each in drawn), max(float(each.max()) for each in drawn)
    spread_out = axis == "bytes" and apart([float(each.max()) for each in drawn])
    # Before the first round nothing was sent.
    limits = logarithmic(drawn, with_zero=True) if spread_out else None
    return limits or Limits(low, high + (0.015 * (high - low) or 1.0))


def divide_across(panel: Axes, axis: str, limits: Limits) -> None:
    """Divides and names what a panel's values are drawn against."""
    named = {"round": "rounds", "epoch": "epochs", "bytes": "sent by all agents [bytes]"}
    if axis == "seconds":
        named[axis] = f"time [{divide_time(panel, limits)}]"
    else:
        divide(panel, "x", limits, "bytes" if axis == "bytes" else "1", whole=axis == "round")
    panel.set_xlabel(named[axis])


def _notes(
    lines: Sequence[Line], measures: dict[str, Measure], every: dict[tuple[str, str], list[MeanCurve]], axis: str
) -> Iterable[str]:
    """What a reader must be told of bands, and of lines that a panel does not show."""
    if of := sizes(lines):
        yield f"Lines with bands: mean ± one standard deviation over {of} runs."
    for metric, shown in measures.items():
        below = [
            line.label
            for line, values in zip(lines, every[metric, axis], strict=True)
            if _any(values) and not shown.shows(values)
        ]
        if below:
            yield f"Below the panel of {metric.replace('_', ' ')}, being zero or rounding: {'; '.join(below)}."


def titled(runs: Sequence[Run], metric: str, wrong: bool = False) -> str:
    """`test accuracy (consensus) [%]`, or both models where runs are shown by different ones; with units, if any."""
    names = dict.fromkeys(name for run in runs if (name := metric_of(run, metric)) in run.metrics)
    units = {run.units(name) for run in runs for name in names if name in run.metrics} - {"", "1"}
    title = metric.removesuffix("_local").replace("_", " ")
    if is_fraction(metric):
        units = {"%"}
        title = title.replace("accuracy", "error") if wrong else title
    models = ", ".join(name.removeprefix(metric + "_") for name in names if name != metric)
    models = "agents' own" if metric.endswith("_local") else models
    return title + (f" ({models})" if models else "") + (f" [{', '.join(sorted(units))}]" if units else "")
