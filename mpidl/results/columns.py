"""Rows as they are appended, turned into columns as they are stored: NaN where a row has no value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpidl.results.names import SCALES
from mpidl.results.table import Columns

Row = dict[str, np.ndarray]
Event = tuple[float, int, bytes, bytes]

# Bytes that most texts fit into; a longer one makes its column wider.
_KIND, _TEXT = 24, 240


def metrics_columns(records: Sequence[Row]) -> Columns:
    """Columns of records, the scales always among them."""
    if not records:
        return {}
    columns = _columns([{**dict.fromkeys(SCALES, np.array(np.nan)), **record} for record in records])
    return {**columns, "round": columns["round"].astype(np.int64)}


def timing_columns(timings: Sequence[Row], count: int) -> Columns:
    """Columns of the timings of `count` records, of which the last may lack theirs."""
    return _columns([*timings, *({} for _ in range(count - len(timings)))])


def events_columns(events: Sequence[Event]) -> Columns:
    """Columns of events, texts as UTF-8 of a fixed width."""
    if not events:
        return {}
    times, rounds, kinds, texts = zip(*events, strict=True)
    return {
        "time": np.array(times),
        "round": np.array(rounds, dtype=np.int64),
        "kind": np.array(kinds, dtype=f"S{max(_KIND, *map(len, kinds))}"),
        "text": np.array(texts, dtype=f"S{max(_TEXT, *map(len, texts))}"),
    }


def _columns(rows: Sequence[Row]) -> Columns:
    shapes = {name: value.shape for row in rows for name, value in row.items()}
    columns = {name: np.full((len(rows), *shape), np.nan) for name, shape in shapes.items()}
    for index, row in enumerate(rows):
        for name, value in row.items():
            columns[name][index] = value
    return columns
