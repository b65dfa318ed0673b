"""Each run of a report by itself: how it ended, its configuration, where it comes from, and what happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mpidl.analysis.report.markup import Markup, element, facts, folded, lines, table
from mpidl.results import Run
from mpidl.spoken import ABSENT, counted, placed

# Of a configuration, and of what happened in a run, the last.
_MOST_LINES, _MOST_EVENTS = 400, 60


def one(run: Run, title: str) -> Markup:
    """A run, folded but for its title and how it ended."""
    parts = [
        facts(_standing(run)),
        element("h3", "Configuration"),
        element("pre", lines(run.config_text, _MOST_LINES)),
        element("h3", "Provenance"),
        facts(_flat(run.provenance)),
    ]
    if run.events:
        parts += [element("h3", "Events"), *_events(run)]
    return folded(title, *parts)


def _standing(run: Run) -> Iterator[tuple[str, str]]:
    yield "file", str(run.path)
    yield "status", run.standing
    yield "agents", f"{run.agents:,}"
    yield "records", f"{run.records:,}"
    yield "begun", run.created
    yield "ended" if run.finished else "last written", run.finished or run.updated


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each fact of a mapping of mappings; lists that say one thing again and again say it once."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key} ")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words = list(map(str, value))
            yield prefix + key, (placed(words) if key in ("hosts", "gpus") else " ".join(words)) or ABSENT
        else:
            yield prefix + key, str(value) if value not in ("", None) else ABSENT


def _events(run: Run) -> Iterator[Markup]:
    left_out = len(run.events) - _MOST_EVENTS
    if left_out > 0:
        yield element("p", f"{counted(left_out, 'earlier event')} are in the file.", class_="quiet")
    yield table(
        ("time (UTC)", "round", "kind", "what"),
        (
            (
                datetime.fromtimestamp(event.time, UTC).strftime("%Y-%m-%d %H:%M:%S"),
                ABSENT if event.round < 0 else f"{event.round:,}",
                event.kind,
                event.text,
            )
            for event in run.events[-_MOST_EVENTS:]
        ),
        numbers=(),
    )
