"""The records of a run as columns of equal length, and as a pandas DataFrame: only that needs pandas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidl.errors import ResultsError
from mpidl.results.glance import Glance
from mpidl.results.names import SCALES

if TYPE_CHECKING:
    import pandas


def wide(run: Glance, metrics: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """A row for each record: round, epoch, seconds and bytes, then metrics (all by default), NaN where not measured.

    Of a metric that agents have a value of each it is their mean.
    """
    names = [name for name in run.metrics if name not in SCALES] if metrics is None else metrics
    return {name: run.curve(name) for name in (*_scales(run), *names)}


def long(run: Glance, metrics: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """A row for each value that was measured: round, epoch, seconds, bytes, metric, agent (-1: of none), and value."""
    names = [name for name in run.metrics if name not in SCALES] if metrics is None else metrics
    parts = [_values(run, name) for name in names]
    titles = (*_scales(run), "metric", "agent", "value")
    empty = {"metric": np.zeros(0, dtype=str), "agent": np.zeros(0, dtype=np.int64)}
    return {
        title: np.concatenate([part[title] for part in parts]) if parts else empty.get(title, np.zeros(0))
        for title in titles
    }


def frame(run: Glance, by_agent: bool = False) -> pandas.DataFrame:
    """`wide`, or `long` where it is to tell agents apart, as a DataFrame; ResultsError where there is no pandas."""
    columns = long(run) if by_agent else wide(run)
    found: pandas.DataFrame = library().DataFrame({name: native(values) for name, values in columns.items()})
    return found


def library() -> Any:
    """pandas; ResultsError with the cure where it is missing."""
    try:
        import pandas
    except ImportError as error:
        raise ResultsError("a DataFrame needs pandas; install it with: pip install 'mpidl[pandas]'") from error
    return pandas


def native(values: np.ndarray) -> np.ndarray:
    """The values in the byte order of this machine, which pandas wants; files may have another."""
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _scales(run: Glance) -> tuple[str, ...]:
    return SCALES if run.records else ()


def _values(run: Glance, name: str) -> dict[str, np.ndarray]:
    """What was measured of one metric."""
    values = run.metrics[name].astype(float)
    records, *agents = np.nonzero(~np.isnan(values))
    return {
        **{scale: run.metrics[scale][records] for scale in _scales(run)},
        "metric": np.full(len(records), name),
        "agent": agents[0] if agents else np.full(len(records), -1),
        "value": values[~np.isnan(values)],
    }
