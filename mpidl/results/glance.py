"""What can be told of a run at a glance: what tables of many runs need, and of its metrics those that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mpidl import __version__, notation
from mpidl.errors import ConfigError, ResultsError
from mpidl.results import lock
from mpidl.results.checked import Group
from mpidl.results.lazy import NUMBERS, WHOLE, Columns
from mpidl.results.metrics import WHOLE_RUN, higher_is_better, partner
from mpidl.results.names import MOST_AGENTS, SCALES, SCHEMA_VERSION

LOADED_AT_ONCE = 64 * 2**20
"""Bytes of columns that are read when a file is opened; the rest is read when it is asked for."""


class NoRunFile(ResultsError):
    """An HDF5 file of another kind."""


class Best(NamedTuple):
    """The best value of a metric, over agents where it has one for each, and the round it was measured in."""

    value: float
    round: int


@dataclass(frozen=True)
class Glance:
    """One run as it stood when it was opened. Columns are `[record]` or `[record, agent]`.

    `loss`: of a run that says it is running, though nobody writes it, see `lock.loss`; else empty.
    """

    path: Path
    name: str
    status: str
    loss: str
    agents: int
    hosts: tuple[str, ...]
    records: int
    created: str
    updated: str
    finished: str
    config_text: str
    metrics: Columns
    quantities: dict[str, tuple[str, str]]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        try:
            config = notation.load(self.config_text, "its /config")
        except ConfigError as error:
            raise ResultsError(f"{str(self.path)!r} is damaged: {error}") from error
        if not isinstance(config, dict):
            raise ResultsError(f"{str(self.path)!r} is damaged: its /config is no YAML mapping")
        return config

    def sections(self) -> Mapping[str, Any]:
        """The configuration, to be looked at and not changed: what runs have in common, they share."""
        known = notation.load_known(self.config_text)
        return self.config if known is None else known

    @property
    def standing(self) -> str:
        """How the run stands, in a word: its status; `killed` or `silent` where it was abandoned."""
        return self.loss or self.status

    @property
    def abandoned(self) -> bool:
        """Whether the run says that it is running, but its writer is gone, or has long given no sign of life."""
        return bool(self.loss)

    def units(self, name: str) -> str:
        """The units of a metric or meter; "1" for a plain number."""
        return self.quantities[name][0]

    def description(self, name: str) -> str:
        """One line about a metric or meter."""
        return self.quantities[name][1]

    def curve(self, name: str) -> np.ndarray:
        """A metric as `[record]`: the mean over the agents measured where it has a value for each."""
        values = self.metrics[name]
        if values.ndim == 1:
            return values
        measured = ~np.isnan(values)
        with np.errstate(over="ignore", invalid="ignore"):
            totals = np.where(measured, values, 0.0).sum(axis=1)
        return np.divide(totals, measured.sum(axis=1), out=np.full(len(values), np.nan), where=measured.any(axis=1))

    def last(self, name: str) -> float:
        """The newest measured value of a curve; NaN where there is none."""
        values = self.curve(name) if name in self.metrics else np.zeros(0)
        measured = np.flatnonzero(~np.isnan(values))
        return float(values[measured[-1]]) if len(measured) else float("nan")

    def best(self, name: str) -> Best | None:
        """The best value of a curve, see `best_record`."""
        values = self.curve(name) if name in self.metrics else np.zeros(0)
        record = best_record(name, values)
        return None if record is None else Best(float(values[record]), int(self.metrics["round"][record]))


def best_record(name: str, values: np.ndarray) -> int | None:
    """Where the best value of a curve is: the largest accuracy, the smallest of anything else; None where none is."""
    finite = np.flatnonzero(np.isfinite(values))
    if not len(finite):
        return None
    return int(finite[(np.argmax if higher_is_better(name) else np.argmin)(values[finite])])


def facts(path: Path, root: Group, loss: str) -> Glance:
    """What is said of a run; of its metrics only how they are called."""
    if "schema_version" not in root.attribute_names or "metrics" not in root:
        raise NoRunFile(f"{str(path)!r} is an HDF5 file, but not a run file of mpidl")
    version = root.count("schema_version")
    if version > SCHEMA_VERSION:
        writer = root.word("mpidl_version") if "mpidl_version" in root.attribute_names else ""
        # Between two releases the version stays, and the schema may not.
        newer = f" to {writer}" if writer not in ("", __version__) else ""
        raise ResultsError(
            f"{str(path)!r} has schema {version}, this mpidl reads up to {SCHEMA_VERSION}: update mpidl{newer}"
        )
    metrics, status = root.group("metrics"), root.word("status")
    records, agents = metrics.count("records"), root.count("agents")
    if not agents:
        raise ValueError("it tells of a run without agents")
    if agents > MOST_AGENTS:
        raise ValueError(f"it tells of {agents} agents, and no run has more than {MOST_AGENTS}")
    return Glance(
        path=path,
        name=root.word("name"),
        status=status,
        loss=loss if status == "running" else "",
        agents=agents,
        hosts=_hosts(root.group("provenance")),
        records=records,
        created=root.word("created"),
        updated=root.time("updated"),
        finished=root.word("finished"),
        config_text=root.text("config"),
        metrics=Columns(path, "metrics", records, _scales_first(metrics.names)),
        quantities={},
    )


def take(path: Path, metrics: Iterable[str]) -> Callable[[Group], Glance]:
    """What makes, of the root of this file, which is not open yet, a run with these metrics and those read beside them.

    `test_accuracy` stands for that of each model that can stand for the run. Others are read when they are asked for.
    """
    loss = lock.loss(path)
    return lambda root: _glance(path, root, loss, metrics)


def _glance(path: Path, root: Group, loss: str, metrics: Iterable[str]) -> Glance:
    run, table = facts(path, root, loss), root.group("metrics")
    # Who looks at many runs must not stumble over one.
    run.sections()
    endings = ("", *(f"_{model}" for model in WHOLE_RUN))
    wanted = {f"{metric}{ending}" for metric in metrics for ending in endings}
    # A loss tells whether an accuracy was measured.
    wanted |= set(map(partner, wanted))
    names = [name for name in run.metrics if name in wanted or (name in SCALES and run.records)]
    check(table, run, names)
    run.quantities.update({name: quantity(table, name) for name in names})
    run.metrics.load(root, LOADED_AT_ONCE, names)
    return run


def quantity(table: Group, name: str) -> tuple[str, str]:
    """Units and description of a column."""
    return table.of_column(name, "units"), table.of_column(name, "description")


def check(metrics: Group, run: Glance, names: Iterable[str] | None = None) -> None:
    """Refuses what readers of these metrics, or of all, could stumble over later."""
    for name in metrics.names if names is None else names:
        metrics.check_column(name, most=1 if name in SCALES else 2)
        of_agents = metrics.shape(name, NUMBERS, sparse=True)[1:]
        if of_agents not in ((), (run.agents,)):
            raise ValueError(f"/metrics/{name} has values of {of_agents[0]} agents, and the run has {run.agents}")
    if run.records:
        for scale in SCALES:
            metrics.shape(scale, WHOLE if scale == "round" else NUMBERS)


def _hosts(provenance: Group) -> tuple[str, ...]:
    hosts = provenance.attribute("hosts") if "hosts" in provenance.attribute_names else []
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise ValueError("its hosts are no list of names")
    return tuple(hosts)


def _scales_first(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: (SCALES.index(name) if name in SCALES else len(SCALES), name)))
