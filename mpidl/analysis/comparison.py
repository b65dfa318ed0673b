"""Runs side by side: one row a run, and what their configurations differ in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mpidl.results import Run
from mpidl.results.metrics import WHOLE_RUN
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
    accuracy, loss = _last(run, [whole_model(run, name) for name in ("test_accuracy", "test_loss")])
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


def whole_model(run: Run, prefix: str) -> str:
    """The name of this metric of the model that stands for the run: `test_loss` → `test_loss_server`."""
    names = [f"{prefix}_{model}" for model in WHOLE_RUN]
    return next((name for name in names if name in run.metrics), names[0])


def part_name(section: Any) -> str:
    """`ring` of `ring` and of `{name: ring, …}`."""
    if isinstance(section, Mapping):
        section = section.get("name")
    return str(section) if section is not None else ABSENT


def labels(runs: Sequence[Run]) -> list[str]:
    """For each run only what differs, such as `ring` or `lr 0.1`.

    A section is compared among the runs that have it, and a part's settings only where all of these use that part.
    """
    configs = [_flat(run.config) for run in runs]
    keys = dict.fromkeys(key for config in configs for key in config)
    differing = [key for key in keys if key != "name" and _differs(key, configs)]
    parts = {key.removesuffix("name") for key in differing if key.endswith(".name")}
    differing = [key for key in differing if key.endswith(".name") or not any(key.startswith(part) for part in parts)]
    texts = [", ".join(_words(key, config[key]) for key in differing if key in config) for config in configs]
    for tell in (lambda run: run.name or run.path.stem, lambda run: str(run.path)):
        alike = [texts.count(label) > 1 or not label for label in texts]
        texts = [
            f"{label} ({tell(run)})" if label and again else label or tell(run)
            for label, again, run in zip(texts, alike, runs, strict=True)
        ]
    return texts


def _differs(key: str, configs: Sequence[Mapping[str, Any]]) -> bool:
    section = key.partition(".")[0] + "."
    having = [config for config in configs if "." not in key or any(other.startswith(section) for other in config)]
    return len({str(config.get(key, ABSENT)) for config in having}) > 1


def _words(key: str, value: Any) -> str:
    return str(value) if key.endswith(".name") else f"{key.rpartition('.')[2]} {value}"


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys, without those that are null."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[prefix + key] = value
    return flat
