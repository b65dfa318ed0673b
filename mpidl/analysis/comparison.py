"""Runs, or groups of them, side by side: what they used and what they reached, for people and for programs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mpidl.analysis.differences import Column, Differences, differences
from mpidl.analysis.groups import RunGroup, grouped
from mpidl.analysis.readings import (
    END,
    Instant,
    Spread,
    counting,
    first_reaching,
    metric_of,
    read,
    require_known,
    spent,
    spread,
)
from mpidl.analysis.settings import settings
from mpidl.errors import ConfigError
from mpidl.results import Glance
from mpidl.results.names import SCALES
from mpidl.sentences import ranges
from mpidl.spoken import counted, is_fraction, number, of_metric, with_deviation

Groups = Sequence[RunGroup[Any]]

METRICS = ("test_accuracy", "test_loss")

# What it takes to come to a record: how it is titled, and its units.
_COSTS = {"round": ("rounds", "1"), "bytes": ("bytes sent", "bytes"), "seconds": ("time", "s")}
# Weights of columns. How a run stands says what its numbers are worth; what it took to a target was asked for, and is
# worth as much as the algorithm.
_FIRST, _STATUS, _ALGORITHM, _DECISIVE, _METRIC, _COST, _SEEDS, _HOUSEKEEPING = 10, 9, 8, 7, 6, 5, 3, 1
REDUNDANT = 2
"""The weight of a column that tells what others do."""
_MOST_VALUES = 3


class TableColumn(NamedTuple):
    """A column as people read it; where there is no room, that of the least `weight` goes first.

    Rows are told apart by columns that are `distinctive`: where those for which there is room do not, another stays.
    """

    title: str
    cells: tuple[str, ...]
    weight: int
    is_text: bool = False
    distinctive: bool = False


@dataclass(frozen=True)
class Comparison:
    """Rows of runs or groups: what is the same in all, by section; columns; and sentences about both.

    `records` are the same rows for programs, plain and not rounded: settings by their dotted keys; of a metric the
    mean, and by `…_deviation` and `…_count` its deviation, and how many runs it is of; None for what is not a number.
    """

    constant: dict[str, str]
    columns: list[TableColumn]
    notes: list[str]
    records: list[dict[str, Any]]


def compare(
    runs: Sequence[Glance],
    metrics: Sequence[str] = METRICS,
    at: Instant = END,
    target: float | None = None,
    groups: Groups | None = None,
) -> Comparison:
    """These runs, or these groups of them (by default those over seeds), with metrics read at a moment.

    `target` is a value of the first metric: then rounds, bytes and seconds are told that it took to reach it, as the
    first record has it; a mean is of the runs that have reached it.
    """
    groups = grouped(runs) if groups is None else groups
    members = [run for group in groups for run in group.runs]
    require_known(members, metrics, "--metric")
    if target is not None and is_fraction(metrics[0]) and not 0 <= target <= 1:
        cure = f"; did you mean {number(target)}%?" if 1 < target <= 100 else ""
        raise ConfigError(f"{metrics[0]} lies between 0 and 1, and never comes to {number(target)}{cure}", "--to")
    apart = differences(members)
    reached = [_metric(groups, metric, at, first=metric == metrics[0]) for metric in metrics]
    reached += [] if target is None else _to_target(groups, metrics[0], target)
    reached += [cost for cost in _costs(groups, metrics[0], at) if any(each.measured for each in cost.spreads)]
    constant = dict(apart.constant)
    outcomes = [each.column for each in reached]
    placed = tuple(_several(str(len(run.hosts)) for run in group.runs) for group in groups)
    ranks = TableColumn("ranks", placed, REDUNDANT)
    for column in [*outcomes, ranks]:
        if column.weight <= _COST and len(groups) > 1 and len(set(column.cells)) == 1:
            constant[column.title] = column.cells[0]
    outcomes = [column for column in [*outcomes, ranks] if column.title not in constant]
    if at != END:
        constant["values"] = f"at {at}" if at.kind in SCALES else "each metric at its best"
    used = list(_settings(groups, apart))
    columns = [_names(groups, used), *used, *outcomes, *_standing(groups)]
    return Comparison(constant, columns, list(_notes(groups, metrics, at)), _records(groups, reached))


def metric_column(groups: Groups, metric: str, at: Instant = END) -> TableColumn:
    """A metric of these groups at a moment, as a column of their comparison."""
    return _metric(groups, metric, at, first=False).column


class _Reached(NamedTuple):
    """A column of numbers: under which key programs find it, and the spread of each group."""

    key: str
    column: TableColumn
    spreads: list[Spread]


def _metric(groups: Groups, metric: str, at: Instant, first: bool) -> _Reached:
    units, title = _units(groups, metric), metric.replace("_", " ")
    spreads = [
        spread(counting(group.runs, [read(run, metric, at).value for run in group.runs], at)) for group in groups
    ]
    return _column(metric, title, metric, units, spreads, _FIRST if first else _METRIC)


def _units(groups: Groups, metric: str) -> str:
    runs = [run for group in groups for run in group.runs]
    return next((run.units(name) for run in runs if (name := metric_of(run, metric)) in run.metrics), "1")


def _to_target(groups: Groups, metric: str, target: float) -> Iterator[_Reached]:
    """What it took to reach a target."""
    reached = [[first_reaching(run, metric, target).record for run in group.runs] for group in groups]
    words = of_metric(metric, target).replace(".00 %", " %")
    for scale, (title, units) in _COSTS.items():
        spreads = [
            spread([spent(run, scale, record) for run, record in zip(group.runs, records, strict=True)])
            for group, records in zip(groups, reached, strict=True)
        ]
        yield _column(
            f"{scale}_to_target", f"{title.removesuffix(' sent')} to {words}", scale, units, spreads, _ALGORITHM
        )


def _costs(groups: Groups, metric: str, at: Instant) -> Iterator[_Reached]:
    """What had been spent when the first metric was read; in the whole run, where that is at the end."""
    for scale, (title, units) in _COSTS.items():
        spreads = []
        for group in groups:
            values = [
                run.last(scale) if at == END else spent(run, scale, read(run, metric, at).record) for run in group.runs
            ]
            spreads.append(spread(counting(group.runs, values, at)))
        yield _column(scale, title, scale, units, spreads, _COST)


def _column(key: str, title: str, name: str, units: str, spreads: list[Spread], weight: int) -> _Reached:
    cells = tuple(_cell(name, each, units) for each in spreads)
    return _Reached(key, TableColumn(title, cells, weight), spreads)


def _cell(name: str, found: Spread, units: str) -> str:
    text = with_deviation(found.mean, found.deviation, name, units)
    whole = found.measured == found.members or found.members == 1
    return text if whole else f"{text} ({found.measured} of {found.members})"


def _settings(groups: Groups, apart: Differences) -> Iterator[TableColumn]:
    """A column for each setting in which runs differ; of groups how many runs they are of, and their seeds in short."""
    several = any(len(group.runs) > 1 for group in groups)
    for column in apart.columns:
        rest = iter(column.cells)
        cells = tuple(_several(next(rest) for _ in group.runs) for group in groups)
        if column.key == "seed" and several:
            yield TableColumn("seeds", tuple(map(_seeds, groups)), _SEEDS)
        else:
            is_text = not all(cell.replace(".", "").replace("-", "").isdigit() for cell in cells)
            weight = _weight(column)
            yield TableColumn(column.title, cells, weight, is_text, distinctive=weight > _HOUSEKEEPING)
    if several:
        yield TableColumn("n", tuple(str(len(group.runs)) for group in groups), _DECISIVE)


def _weight(column: Column) -> int:
    if not column.matters:
        return _HOUSEKEEPING
    return _ALGORITHM if column.key.partition(".")[0] == "algorithm" else _DECISIVE


def _several(texts: Iterable[str]) -> str:
    """What a group has of something in which it need not be alike."""
    distinct = list(dict.fromkeys(texts))
    if len(distinct) <= _MOST_VALUES:
        return ", ".join(distinct)
    return f"{distinct[0]}, …, {distinct[-1]} ({len(distinct)})"


def _seeds(group: RunGroup[Glance]) -> str:
    seeds = [run.sections().get("seed", 0) for run in group.runs]
    return ranges(sorted(set(seeds))) if all(isinstance(seed, int) for seed in seeds) else _several(map(str, seeds))


def _names(groups: Groups, used: Sequence[TableColumn]) -> TableColumn:
    """What runs are called, which is worth little where their settings tell them apart."""
    told = set(zip(*(column.cells for column in used if column.distinctive), strict=True))
    weight = REDUNDANT if len(told) == len(groups) > 1 else _DECISIVE
    return TableColumn("run", tuple(group.name for group in groups), weight, is_text=True, distinctive=True)


def _standing(groups: Groups) -> Iterator[TableColumn]:
    """How runs stand, unless all have finished."""
    cells = tuple(_statuses(group.runs) for group in groups)
    if any(run.standing != "finished" for group in groups for run in group.runs):
        yield TableColumn("status", cells, _STATUS, is_text=True)


def _statuses(runs: Sequence[Glance]) -> str:
    """`finished`, or `2 finished, 1 diverged`."""
    counts = Counter(run.standing for run in runs)
    return ", ".join(status if len(runs) == 1 else f"{count} {status}" for status, count in counts.items())


def _notes(groups: Groups, metrics: Sequence[str], at: Instant) -> Iterator[str]:
    runs = [run for group in groups for run in group.runs]
    if at.kind in SCALES:
        short = [run for run in runs if run.last(at.kind) < at.spent or not run.records]
        if short:
            yield f"{counted(len(short), 'run')} of {len(runs)} did not come to {at}, and have no value there"
    elif any(run.status != "finished" for group in groups if len(group.runs) > 1 for run in group.runs):
        yield "means are of the runs that have finished; (2 of 3) says how many those are"


def _records(groups: Groups, reached: Sequence[_Reached]) -> list[dict[str, Any]]:
    return [
        {
            "name": group.name,
            "label": group.label,
            "count": len(group.runs),
            "files": [str(run.path) for run in group.runs],
            "status": _statuses(group.runs),
            "ranks": [len(run.hosts) for run in group.runs],
            "settings": _common(group.runs),
            **{key: value for each in reached for key, value in _plain(each, place).items()},
        }
        for place, group in enumerate(groups)
    ]


def _common(runs: Sequence[Glance]) -> dict[str, Any]:
    """Settings by their keys; a list of all values where these runs differ."""
    known = [settings(run) for run in runs]
    found = {}
    for key in dict.fromkeys(key for each in known for key in each):
        values = {each[key].text: each[key].value for each in known if key in each}
        found[key] = next(iter(values.values())) if len(values) == 1 else list(values.values())
    return found


def _plain(reached: _Reached, place: int) -> dict[str, float | int | None]:
    found, key = reached.spreads[place], reached.key
    values = {key: found.mean, f"{key}_deviation": found.deviation}
    return {name: value if math.isfinite(value) else None for name, value in values.items()} | {
        f"{key}_count": found.measured
    }
