"""What runs have reached beside how sharp their loss is there, as `mpidl analyze` has found it.

Against the number in which settings differ most, such as a learning rate, with a line for whatever else sets them
apart; where they differ in no number, each has a place of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mpidl.analysis import gathered
from mpidl.analysis.differences import differences
from mpidl.analysis.figures.lines import sizes
from mpidl.analysis.gathered import Gathered
from mpidl.analysis.groups import RunGroup, grouped
from mpidl.analysis.readings import counting, metric_of, read, require_known, spread
from mpidl.analysis.settings import changes_numbers, settings
from mpidl.errors import ResultsError
from mpidl.pictures import words
from mpidl.pictures.scales import Limits, apart, divide, linear, logarithmic
from mpidl.pictures.style import TICK, dress, folded, framed, line_entry, line_style
from mpidl.results import Run
from mpidl.spoken import is_fraction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = ("test_accuracy", "hessian_largest", "hessian_trace", "average_direction_sharpness")

_SAID = {
    "hessian_largest": "largest Hessian eigenvalue",
    "hessian_trace": "Hessian trace",
    "average_direction_sharpness": "average-direction sharpness",
}
_WIDTH, _HEIGHT = 3.1, 2.7


@dataclass(frozen=True)
class _Line:
    """Groups, by their numbers, that are one line, and where each stands along the axis."""

    label: str
    groups: tuple[int, ...]
    places: tuple[float, ...]


@dataclass(frozen=True)
class _Axis:
    """What the panels have beneath them: a number, or places that have names."""

    words: str
    limits: Limits
    names: tuple[str, ...] = ()
    whole: bool = False


def draw(
    runs: Sequence[Run],
    metrics: Sequence[str] = METRICS,
    *,
    groups: Sequence[RunGroup[Run]] | None = None,
    title: str | None = None,
) -> Figure:
    """A panel for each of these metrics of runs, and numbers that were found out about their models.

    Those that no run has are left out. Over seeds they are means, in bands of one standard deviation.
    """
    groups = grouped(runs) if groups is None else groups
    known = gathered.beside(groups)
    if not known.kinds:
        raise ResultsError("nothing to plot: no analysis lies beside these runs; mpidl analyze makes them")
    found = {number.name for kind in known.kinds for number in gathered.numbers(known.of_kind(kind))}
    require_known(runs, metrics, others=(*METRICS, *found))
    every = {metric: [_values(metric, group, place, known) for place, group in enumerate(groups)] for metric in metrics}
    shown = {metric: values for metric, values in every.items() if np.isfinite(np.concatenate(values)).any()}
    if not shown:
        raise ResultsError(f"nothing to plot: these runs have no {', '.join(metrics)}")
    axis, lines = _lines(groups)
    of = sizes(groups)
    figure, body = framed(
        0.6 + _WIDTH * len(shown),
        _HEIGHT + (0.6 if axis.names else 0.0),
        "Accuracy beside flatness" if title is None else title,
        {line.label: line_entry(index) for index, line in enumerate(lines) if line.label},
        [
            *([f"Mean ± one standard deviation over {of} runs; dots are single runs."] if of else []),
            *map(str, known.unreadable),
        ],
    )
    panels = body.subplots(1, len(shown), squeeze=False)[0]
    for panel, (metric, values) in zip(panels, shown.items(), strict=True):
        _fill(panel, metric, values, axis, lines)
    return figure


def _values(metric: str, group: RunGroup[Run], place: int, known: Gathered) -> np.ndarray:
    """One for each run of a group that counts; of none, NaN."""
    if any(metric_of(run, metric) in run.metrics for run in group.runs):
        values = counting(group.runs, [read(run, metric).value for run in group.runs])
    else:
        kinds = [findings for analysis in known.groups[place] for findings in analysis.kinds.values()]
        values = [findings.number(metric) for findings in kinds if metric in findings]
    return np.array(values or [math.nan])


def _lines(groups: Sequence[RunGroup[Run]]) -> tuple[_Axis, list[_Line]]:
    """Which groups are lines along the number in which they differ most; without one, each by itself."""
    known = [
        {
            key: each
            for key, each in settings(group.runs[0]).items()
            if key not in ("seed", "name") and changes_numbers(key)
        }
        for group in groups
    ]
    counts = {
        key: len({settings[key].value for settings in known})
        for key in known[0]
        if all(key in settings and _is_number(settings[key].value) for settings in known)
    }
    key = max(counts, key=lambda key: counts[key], default=None)
    if key is None or counts[key] < 2:
        names = tuple(group.label for group in groups)
        places = tuple(map(float, range(len(groups))))
        return _Axis("", Limits(-0.5, len(groups) - 0.5), names), [_Line("", tuple(range(len(groups))), places)]
    members: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for number, settings_ in enumerate(known):
        rest = tuple((name, each.text) for name, each in settings_.items() if name != key)
        members.setdefault(rest, []).append(number)
    others = differences([groups[line[0]].runs[0] for line in members.values()], without=["seed", key])
    lines = [
        _Line(others.label(number), tuple(ordered), tuple(float(known[group][key].value) for group in ordered))
        for number, line in enumerate(members.values())
        for ordered in [sorted(line, key=lambda group: known[group][key].value)]
    ]
    every = np.array([settings_[key].value for settings_ in known], dtype=float)
    title = "learning rate" if key == "algorithm.lr" else key
    return _Axis(title, _far_or_near(every), whole=bool((every % 1 == 0).all())), lines


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fill(panel: Axes, metric: str, values: Sequence[np.ndarray], axis: _Axis, lines: Sequence[_Line]) -> None:
    found = [spread(each.tolist()) for each in values]
    means, deviations = np.array([each.mean for each in found]), np.nan_to_num([each.deviation for each in found])
    limits = _limits(metric, values, [means - deviations, means + deviations])
    lows, highs = (np.clip(ends, limits.low, limits.high) for ends in (means - deviations, means + deviations))
    for index, line in enumerate(lines):
        style, places, of = line_style(index), np.array(line.places), list(line.groups)
        mean, low, high = means[of], lows[of], highs[of]
        if axis.names:
            style |= {"linestyle": ""}
        if axis.names or len(of) == 1:
            panel.vlines(places, low, high, color=style["color"], linewidth=1.2)
        else:
            panel.fill_between(places, low, high, color=style["color"], alpha=0.18, linewidth=0)
        panel.plot(places, mean, **style)
        several = [(place, value) for place, group in zip(places, line.groups, strict=True) for value in values[group]]
        if len(several) > len(places):
            panel.plot(*zip(*several, strict=True), ".", markersize=4, color=style["color"], alpha=0.6)
    fraction = is_fraction(metric)
    divide(panel, "y", limits, "%" if fraction else "1")
    divide(panel, "x", axis.limits, whole=axis.whole)
    dress(panel, words(axis.words), words(_SAID.get(metric, metric.replace("_", " ")) + (" [%]" if fraction else "")))
    if axis.names:
        named = ["\n".join(folded(name, _WIDTH / len(axis.names) * 0.9, TICK)[:4]) for name in axis.names]
        panel.set_xticks(range(len(axis.names)), named, fontsize=TICK)


def _limits(metric: str, values: Sequence[np.ndarray], bands: Sequence[np.ndarray]) -> Limits:
    """Of an axis that has place for all runs, and for the bands, which reach beyond them."""
    every, ends = (each[np.isfinite(each)] for each in map(np.concatenate, (values, bands)))
    if not is_fraction(metric):
        return _far_or_near(every, ends)
    whole = linear([every, ends])
    return Limits(max(whole.low, -0.02), min(whole.high, 1.02))


def _far_or_near(values: np.ndarray, *ends: np.ndarray) -> Limits:
    """A logarithmic axis for what is positive and far apart, else a linear one; `ends` are those of bands."""
    limits = logarithmic([values], bands=ends) if values.min() > 0 and apart(values.tolist()) else None
    return limits or linear([values, *ends])
