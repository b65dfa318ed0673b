"""Where the seconds of the ranks went: a bar for each rank of one run, or for each line of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mpidl.analysis.figures.lines import lines_of
from mpidl.analysis.figures.series import LARGEST
from mpidl.analysis.groups import RunGroup
from mpidl.comm.meters import SECONDS
from mpidl.errors import ConfigError, ResultsError
from mpidl.pictures.scales import Limits, divide, of_time
from mpidl.pictures.style import TICK, bar_style, dress, folded, framed
from mpidl.results import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METERS = tuple(meter.name for meter in SECONDS)
REST = "everything else"
"""What no meter has counted, of the time from the start of training to the last record."""

# Of more ranks, half as many that waited longest are shown, and half as many that waited least.
_MOST = 32
_MOST_BARS = 100


def draw(runs: Sequence[Run], *, groups: Sequence[RunGroup[Run]] | None = None, title: str | None = None) -> Figure:
    """Bars of seconds by what they were spent on: of each rank where there is one run, else their mean over ranks."""
    lines, frame = lines_of(runs, groups, title)
    if len(runs) == 1:
        bars, notes = _by_rank(runs[0])
    else:
        bars = {line.label: np.mean([_spent(run).mean(axis=1) for run in line.runs], axis=0) for line in lines}
        notes = [f"Mean over ranks{' and runs' if any(len(line.runs) > 1 for line in lines) else ''}."]
    if len(bars) > _MOST_BARS:
        raise ConfigError(f"these runs make {len(bars)} bars; name fewer of them, up to {_MOST_BARS}", "RUN.h5")
    table = np.array(list(bars.values()))
    if not table.size or not (table > 0).any():
        raise ResultsError("nothing to plot: no run has measured where its seconds went yet")
    shown = [index for index in range(table.shape[1]) if (table[:, index] > 0).any()]
    second, unit = of_time(float(table.sum(axis=1).max()))
    from matplotlib.patches import Patch

    names = (*_METERS, REST)
    legend = {_said(names[index]): Patch(**bar_style(index)) for index in shown}
    width, wide = 8.0, 2.6
    labels = [folded(label, wide, TICK) for label in bars]
    # Bars are equally far apart.
    height = 0.8 + len(labels) * max(0.34, 0.16 * max(map(len, labels)))
    figure, body = framed(width, height, frame.title, legend, [*notes, *frame.notes])
    axes = body.subplots()
    start = np.zeros(len(table))
    places = np.arange(len(table))
    for index in shown:
        axes.barh(places, table[:, index] / second, left=start / second, height=0.7, **bar_style(index))
        start += table[:, index]
    dress(axes, f"time [{unit}]", "rank" if len(runs) == 1 else "")
    axes.grid(visible=False, axis="y")
    axes.set_yticks(places, ["\n".join(label) for label in labels], fontsize=TICK)
    axes.set_ylim(len(table) - 0.4, -0.6)
    divide(axes, "x", Limits(0.0, 1.04 * float(start.max()) / second))
    return figure


def _said(meter: str) -> str:
    descriptions = {each.name: each.description for each in SECONDS}
    return descriptions.get(meter, meter)


def _spent(run: Run) -> np.ndarray:
    """Seconds `[meter, rank]`, the last row those that no meter has counted."""
    totals = [run.timing_total(name) if name in run.timing else np.zeros(0) for name in _METERS]
    ranks = max(map(len, totals), default=0)
    if not ranks:
        return np.zeros((len(_METERS) + 1, 1))
    known = np.array([total if len(total) == ranks else np.zeros(ranks) for total in totals])
    known = np.where((known > 0) & (known < LARGEST), known, 0.0)
    whole = run.last("seconds")
    rest = np.maximum(whole - known.sum(axis=0), 0.0) if abs(whole) < LARGEST else np.zeros(ranks)
    return np.vstack([known, rest])


def _by_rank(run: Run) -> tuple[dict[str, np.ndarray], list[str]]:
    spent = _spent(run)
    ranks = list(range(spent.shape[1]))
    if len(ranks) <= _MOST:
        return {str(rank): spent[:, rank] for rank in ranks}, []
    waiting = spent[_METERS.index("waiting")]
    order = np.argsort(waiting, kind="stable")
    chosen = sorted([*order[: _MOST // 2], *order[-(_MOST // 2) :]])
    note = f"Of {len(ranks)} ranks the {_MOST // 2} that waited least and the {_MOST // 2} that waited most."
    return {str(rank): spent[:, rank] for rank in chosen}, [note]
