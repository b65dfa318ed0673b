"""Curves of several runs in one picture: a panel for each metric and axis, one legend that names only what differs.

Lines differ in lightness, dashes and markers, so that the picture survives a grey printer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidl.analysis.differences import labels
from mpidl.analysis.readings import metric_of
from mpidl.errors import ConfigError, ResultsError, choices_sentence
from mpidl.pictures import new_figure, words
from mpidl.results import Run
from mpidl.results.names import SCALES
from mpidl.spoken import is_fraction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = ("test_accuracy", "test_loss", "consensus_distance")
AXES = ("epoch", "bytes")

# What else axes are called.
_MEANT = {
    **dict.fromkeys(("time", "walltime", "wall_time", "wall_clock"), "seconds"),
    **dict.fromkeys(("iteration", "iterations", "step", "steps"), "round"),
    **dict.fromkeys(("communication", "traffic"), "bytes"),
}

_COLOURS = ("#14213d", "#c8553d", "#e3a92f", "#00798c", "#6a4c93", "#6bbf59", "#8d5524", "#7aa6dc")
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_LOGARITHMIC = ("consensus_distance",)

# Of larger ones, margins and ticks overflow.
_LARGEST = 1e150


def draw(runs: Sequence[Run], metrics: Sequence[str] = METRICS, axes: Sequence[str] = AXES) -> Figure:
    """One picture of these runs. `test_loss` stands for that of each run's consensus or server model.

    Metrics and axes that no run has a value of that can be drawn are left out; so is a run from panels that it lacks.
    """
    _refuse_unknown(runs, metrics, axes)
    shown = [metric for metric in metrics if any(_points(run, metric, "round")[0].size for run in runs)]
    across = [axis for axis in axes if any(_points(run, metric, axis)[0].size for run in runs for metric in shown)]
    if not across:
        raise ResultsError(f"nothing to plot: no run has values of {', '.join(metrics)} against {', '.join(axes)} yet")
    figure = new_figure(1 + 3.8 * len(shown), 0.9 + 2.9 * len(across))
    panels = figure.subplots(len(across), len(shown), squeeze=False, sharex="row", sharey="col")
    for line, axis in zip(panels, across, strict=True):
        for panel, metric in zip(line, shown, strict=True):
            _fill(panel, runs, metric, axis)
    handles = [_handle(index, words(label)) for index, label in enumerate(labels(runs))]
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(len(handles), round(52 * len(shown) / (longest + 8))))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False, handlelength=3.2)
    return figure


def _refuse_unknown(runs: Sequence[Run], metrics: Sequence[str], axes: Sequence[str]) -> None:
    known = {name for run in runs for name in run.metrics} | {"test_accuracy", "test_loss", "consensus_distance"}
    for metric in metrics:
        if metric not in known:
            raise ConfigError(f"metric {choices_sentence(metric, known)}")
    for axis in axes:
        if axis not in SCALES:
            raise ConfigError(f"axis {choices_sentence(axis, SCALES, _MEANT.get(axis))}")


def _points(run: Run, metric: str, axis: str) -> tuple[np.ndarray, np.ndarray]:
    """What can be drawn of a metric against an axis."""
    name = metric_of(run, metric)
    if name not in run.metrics:
        return np.zeros(0), np.zeros(0)
    across, values = run.metrics[axis].astype(float), run.curve(name)
    known = (np.abs(across) < _LARGEST) & (np.abs(values) < _LARGEST)
    if metric in _LOGARITHMIC:
        known &= values > 0
    return across[known], values[known]


def _fill(panel: Axes, runs: Sequence[Run], metric: str, axis: str) -> None:
    for index, run in enumerate(runs):
        across, values = _points(run, metric, axis)
        # About eight markers per line, staggered so that those of lines that coincide do not hide each other.
        every = max(1, len(across) // 8)
        panel.plot(across, values, markevery=(index * every // len(runs), every), **style(index))
    panel.set_xlabel("bytes sent by all agents" if axis == "bytes" else "seconds" if axis == "seconds" else f"{axis}s")
    panel.set_ylabel(words(_title(runs, metric)))
    if metric in _LOGARITHMIC and any(np.size(line.get_xdata()) for line in panel.lines):
        panel.set_yscale("log")
    if is_fraction(metric):
        from matplotlib.ticker import PercentFormatter

        panel.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    if axis == "bytes":
        from matplotlib.ticker import EngFormatter, MaxNLocator

        panel.xaxis.set_major_formatter(EngFormatter("B"))
        panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.grid(alpha=0.25, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def _title(runs: Sequence[Run], metric: str) -> str:
    """`test accuracy (consensus)`, or both models where runs are shown by different ones; with units, if it has any."""
    names = dict.fromkeys(metric_of(run, metric) for run in runs if metric_of(run, metric) in run.metrics)
    units = {run.units(name) for run in runs for name in names if name in run.metrics} - {"", "1"}
    title = metric.replace("_", " ")
    models = ", ".join(name.removeprefix(metric + "_") for name in names if name != metric)
    return title + (f" ({models})" if models else "") + (f" [{', '.join(sorted(units))}]" if units else "")


def style(index: int) -> dict[str, Any]:
    """Of the line of this number: unlike those of other numbers in more than colour."""
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _DASHES[index % len(_DASHES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 4.5,
        "linewidth": 1.4,
    }


def _handle(index: int, label: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **style(index))
