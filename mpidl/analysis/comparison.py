"""Runs side by side: one row a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mpidl.analysis.readings import metric_of
from mpidl.results import Run
from mpidl.spoken import ABSENT


class Row(NamedTuple):
    """What a run used and what it reached; NaN where it was not measured."""

    name: str
    algorithm: str
    graph: str
    agents: int
    ranks: int
    rounds: int
    accuracy: float
    loss: float
    bytes: float
    seconds: float
    status: str


def row(run: Run) -> Row:
    """A run in one line; accuracy and loss are the last of its consensus model, or of its server where it has one.

    Both are of one record: a loss that is no longer a number is not replaced by one from before it diverged.
    """
    config = run.config
    accuracy, loss = _last(run, [metric_of(run, name) for name in ("test_accuracy", "test_loss")])
    return Row(
        name=run.name or run.path.stem,
        algorithm=part_name(config.get("algorithm")),
        graph=part_name(config.get("graph")),
        agents=run.agents,
        ranks=len(run.provenance.get("hosts", ())),
        rounds=int(run.metrics["round"][-1]) if run.records else 0,
        accuracy=accuracy,
        loss=loss,
        bytes=run.last("bytes"),
        seconds=run.last("seconds"),
        status="killed" if run.abandoned else run.status,
    )


def _last(run: Run, names: Sequence[str]) -> list[float]:
    """What these are in the last record that has one of them; NaN where there is none."""
    curves = [run.curve(name) if name in run.metrics else np.full(run.records, np.nan) for name in names]
    measured = np.flatnonzero(~np.isnan(curves).all(axis=0))
    return [float(curve[measured[-1]]) if len(measured) else float("nan") for curve in curves]


def part_name(section: Any) -> str:
    """`ring` of `ring` and of `{name: ring, …}`."""
    if isinstance(section, Mapping):
        section = section.get("name")
    return str(section) if section is not None else ABSENT
