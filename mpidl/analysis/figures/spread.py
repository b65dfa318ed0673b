"""How far apart agents' own models are in what they have learnt: median and range over rounds, and each in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mpidl.analysis.figures.curves import OWN, divide_across, limits_across, refuse_unknown, titled
from mpidl.analysis.figures.lines import Line, legend, lines_of
from mpidl.analysis.figures.series import LARGEST
from mpidl.analysis.groups import RunGroup
from mpidl.errors import ConfigError, ResultsError
from mpidl.pictures import words
from mpidl.pictures.scales import ROUNDING, Limits, divide, linear, logarithmic
from mpidl.pictures.style import dress, framed
from mpidl.results import Run
from mpidl.spoken import is_fraction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Agents:
    """Values of agents along an axis, `[record, agent]`, those of all runs of a line beside each other."""

    across: np.ndarray
    values: np.ndarray

    def quantile(self, share: float) -> np.ndarray:
        """Of the agents measured in each record."""
        # A hundred times as fast where all are measured.
        quantile = np.nanquantile if np.isnan(self.values).any() else np.quantile
        return quantile(self.values, share, axis=1)


def draw(
    runs: Sequence[Run],
    metrics: Sequence[str] = OWN,
    axis: str = "round",
    *,
    groups: Sequence[RunGroup[Run]] | None = None,
    title: str | None = None,
) -> Figure:
    """For each metric that agents have a value of each: median and range over agents, and all agents in the end."""
    refuse_unknown(runs, metrics, [axis])
    for metric in metrics:
        if any(metric in run.metrics and run.metrics[metric].ndim < 2 for run in runs):
            raise ConfigError(f"{metric} is one number for all agents; the spread is of one for each, as in {OWN[0]}")
    lines, frame = lines_of(runs, groups, title)
    every = {metric: [_agents(line, metric, axis) for line in lines] for metric in metrics}
    shown = [metric for metric in metrics if any(agents.across.size for agents in every[metric])]
    if not shown:
        raise ResultsError(f"nothing to plot: no run has values of {', '.join(metrics)} yet")
    entries, absent = legend(
        lines, [any(agents[line.index].across.size for agents in every.values()) for line in lines]
    )
    told = (
        "Lines: median over the agents of all runs; bands: from the least to the largest; right: each agent at the end."
    )
    notes = [told, *absent, *frame.notes]
    figure, body = framed(9.0, 3.0 * len(shown), frame.title, entries, notes)
    panels = body.subplots(len(shown), 2, squeeze=False, sharey="row", width_ratios=(2, 1))
    for (curves, ends), metric in zip(panels, shown, strict=True):
        measured = [agents for agents in every[metric] if agents.across.size]
        limits = _limits(metric, measured)
        across = limits_across(axis, [agents.across for agents in measured])
        _fill(curves, lines, every[metric], limits, across)
        divide_across(curves, axis, across)
        dress(curves, curves.get_xlabel(), words(titled(runs, metric)))
        _ends(ends, lines, every[metric], limits)
        dress(ends, "agents, in the order of their numbers", "")
        divide(curves, "y", limits, "%" if is_fraction(metric) else "1")
    return figure


def _agents(line: Line, metric: str, axis: str) -> Agents:
    """The values of all agents of these runs, in the rounds that all runs have measured."""
    tables = [_table(run, metric, axis) for run in line.runs]
    shared = [round for round in tables[0] if all(round in table for table in tables[1:])]
    if not shared:
        return Agents(np.zeros(0), np.zeros((0, 0)))
    across = np.array([[table[round][0] for round in shared] for table in tables]).mean(axis=0)
    return Agents(across, np.hstack([np.array([table[round][1] for round in shared]) for table in tables]))


def _table(run: Run, metric: str, axis: str) -> dict[int, tuple[float, np.ndarray]]:
    """By round, where it lies on the axis, and what agents have there; NaN of those that were not measured."""
    if metric not in run.metrics:
        return {}
    across, values = run.metrics[axis].astype(float), run.metrics[metric].astype(float)
    values = np.where(np.abs(values) < LARGEST, values, np.nan)
    known = (np.abs(across) < LARGEST) & ~np.isnan(values).all(axis=1)
    rounds = run.metrics["round"].tolist()
    return {rounds[row]: (float(across[row]), values[row]) for row in np.flatnonzero(known)}


def _limits(metric: str, measured: Sequence[Agents]) -> Limits:
    values = [agents.values[~np.isnan(agents.values)] for agents in measured]
    if is_fraction(metric) or any((each <= 0).any() for each in values):
        return linear(values)
    return logarithmic(values, ROUNDING["float32"]) or linear(values)


def _fill(axes: Axes, lines: Sequence[Line], drawn: Sequence[Agents], limits: Limits, across: Limits) -> None:
    for line, agents in zip(lines, drawn, strict=True):
        if not agents.across.size:
            continue
        places, marked = across.place(agents.across), line.marked(len(agents.across), len(lines))
        axes.plot(places, limits.place(agents.quantile(0.5)), markevery=marked, **line.style)
        low, high = (limits.place(agents.quantile(share)) for share in (0.0, 1.0))
        axes.fill_between(places, low, high, color=line.style["color"], alpha=0.15, linewidth=0)


def _ends(axes: Axes, lines: Sequence[Line], drawn: Sequence[Agents], limits: Limits) -> None:
    """Each agent's last value, lines beside each other."""
    start = 0.0
    for line, agents in zip(lines, drawn, strict=True):
        if not agents.across.size:
            continue
        last = agents.values[-1]
        last = limits.place(last[~np.isnan(last)])
        axes.plot(start + np.linspace(0.1, 0.9, len(last)), last, **line.style | {"linestyle": "", "markersize": 3.5})
        axes.hlines(float(np.median(last)), start + 0.05, start + 0.95, color=line.style["color"], linewidth=1.2)
        start += 1.0
    axes.set_xlim(-0.1, max(start, 1.0) + 0.1)
    axes.set_xticks([])
