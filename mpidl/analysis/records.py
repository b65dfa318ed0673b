"""The records of many runs as one table: each with the run that it is of, and the settings in which the runs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidl.analysis.differences import differences, names
from mpidl.analysis.readings import metric_of, require_known
from mpidl.analysis.settings import settings
from mpidl.results import Glance, frames

if TYPE_CHECKING:
    import pandas


def rows(
    runs: Sequence[Glance], by_agent: bool = False, metrics: Sequence[str] = ()
) -> tuple[list[str], Iterator[list[Any]]]:
    """The titles of a table, and its rows with plain values; None where there is none.

    First stand the run's name and file and, by their dotted keys, the settings in which these runs differ; then round,
    epoch, seconds and bytes, and the metrics, means over agents; or, `by_agent`, a row for each value that was
    measured, with `metric`, `agent` (None: of no agent's own) and `value`. `test_accuracy` stands for that of each
    run's model.
    """
    require_known(runs, metrics, "--metric")
    apart = _apart(runs)
    columns = [_columns(run, by_agent, metrics) for run in runs]
    titles = dict.fromkeys(title for each in columns for title in each)
    return [*apart[0], *titles], _rows(apart, columns, list(titles))


def frame(runs: Sequence[Glance], by_agent: bool = False, metrics: Sequence[str] = ()) -> pandas.DataFrame:
    """The same as a DataFrame, which needs pandas; agents are -1 where a value is of none, missing values are NaN."""
    library = frames.library()
    require_known(runs, metrics)
    parts = []
    for run, settings_of in zip(runs, _apart(runs), strict=True):
        columns = {name: frames.native(values) for name, values in _columns(run, by_agent, metrics).items()}
        length = len(next(iter(columns.values()), ()))
        parts.append(library.DataFrame({name: [value] * length for name, value in settings_of.items()} | columns))
    found: pandas.DataFrame = library.concat(parts, ignore_index=True) if parts else library.DataFrame()
    return found


def _apart(runs: Sequence[Glance]) -> list[dict[str, Any]]:
    """What a run's rows begin with."""
    keys = [key for column in differences(runs).columns for key in column.keys]
    known = [settings(run) for run in runs]
    return [
        {"run": name, "file": str(run.path)} | {key: each[key].value if key in each else None for key in keys}
        for name, run, each in zip(names(runs), runs, known, strict=True)
    ]


def _columns(run: Glance, by_agent: bool, metrics: Sequence[str]) -> dict[str, np.ndarray]:
    shape = frames.long if by_agent else frames.wide
    if not metrics:
        return shape(run)
    known = {metric: name for metric in metrics if (name := metric_of(run, metric)) in run.metrics}
    columns = shape(run, known.values())
    # Under the name that was asked for, which may mean another one in each run.
    asked = {name: metric for metric, name in known.items()}
    return columns if by_agent else {asked.get(name, name): values for name, values in columns.items()}


def _rows(
    apart: Sequence[Mapping[str, Any]], columns: Sequence[Mapping[str, np.ndarray]], titles: Sequence[str]
) -> Iterator[list[Any]]:
    for begins, each in zip(apart, columns, strict=True):
        length = len(next(iter(each.values()), ()))
        plain = [_plain(title, each[title]) if title in each else [None] * length for title in titles]
        for values in zip(*plain, strict=True):
            yield [*begins.values(), *values]


def _plain(title: str, values: np.ndarray) -> list[Any]:
    """As JSON has them: None for what is not a number, and for no agent."""
    if values.dtype.kind == "f":
        return [value if known else None for value, known in zip(values.tolist(), np.isfinite(values), strict=True)]
    return [None if title == "agent" and value < 0 else value for value in values.tolist()]
