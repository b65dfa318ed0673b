"""Reading a run file, also one that is being written: takes no lock and shows no record beyond the committed ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mpidl import notation
from mpidl.errors import ConfigError, ResultsError
from mpidl.results import checked, lock, models
from mpidl.results.checked import Group
from mpidl.results.lazy import NUMBERS, Columns
from mpidl.results.metrics import higher_is_better
from mpidl.results.models import Kept, KeptModel
from mpidl.results.names import SCALES, SCHEMA_VERSION

if TYPE_CHECKING:
    from torch import Tensor, nn

WHOLE = "iu"
# Bytes of columns that are read when a file is opened; the rest is read when it is asked for.
_LOADED_AT_ONCE = 64 * 2**20


class NoRunFile(ResultsError):
    """An HDF5 file of another kind."""


class Event(NamedTuple):
    """Something that happened: seconds since 1970 (UTC), round (-1: before the first), kind, and one sentence."""

    time: float
    round: int
    kind: str
    text: str


class Best(NamedTuple):
    """The best value of a metric, over agents where it has one for each, and the round it was measured in."""

    value: float
    round: int


@dataclass(frozen=True)
class Run:
    """One run as it stood when it was opened. Columns are `[record]`, `[record, agent]`, in timing `[record, rank]`.

    `abandoned` runs say that they are running, but their writer is gone; of one on another host that is not known.
    """

    path: Path
    name: str
    status: str
    abandoned: bool
    agents: int
    records: int
    created: str
    updated: str
    finished: str
    config_text: str
    provenance: dict[str, Any]
    graph: dict[str, Any] | None
    metrics: Columns
    timing: Columns
    snapshots: Columns
    kept: tuple[Kept, ...]
    events: tuple[Event, ...]
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

    def timing_total(self, name: str) -> np.ndarray:
        """A meter at the end of the run as `[rank]`: a meter that fell was started anew by a resume, and goes on."""
        values = self.timing[name]
        # Records without timing say nothing; a rank that others have, and a record lacks, was not there.
        values = np.nan_to_num(values[~np.isnan(values).all(axis=1)])
        with np.errstate(over="ignore", invalid="ignore"):
            rises = np.diff(values, axis=0, prepend=0.0)
            return np.where(rises < 0, values, rises).sum(axis=0)

    def last(self, name: str) -> float:
        """The newest measured value of a curve; NaN where there is none."""
        values = self.curve(name) if name in self.metrics else np.zeros(0)
        measured = np.flatnonzero(~np.isnan(values))
        return float(values[measured[-1]]) if len(measured) else float("nan")

    def best(self, name: str) -> Best | None:
        """The best value of a curve: the largest accuracy, the smallest of anything else."""
        values = self.curve(name) if name in self.metrics else np.zeros(0)
        finite = np.flatnonzero(np.isfinite(values))
        if not len(finite):
            return None
        record = int(finite[(np.argmax if higher_is_better(name) else np.argmin)(values[finite])])
        return Best(float(values[record]), int(self.metrics["round"][record]))

    def model(self, model: str | int | None = None, round: int | str | None = None) -> KeptModel:
        """A model that the file keeps: "consensus" or "server", or an agent's own by its number.

        `round` is one of those that models are kept of, or "best"; by default the newest.
        """
        return models.read(self.path, models.choose(self.path, self.kept, round), model)

    def model_bytes(self) -> int:
        """Of a model that the file keeps, statistics included."""
        return models.network(self.path, self.kept[-1]).nbytes if self.kept else 0

    def state_dict(self, model: str | int | None = None, round: int | str | None = None) -> dict[str, Tensor]:
        """What `module.load_state_dict` takes, BatchNorm statistics included, of such a model."""
        return self.model(model, round).state_dict()

    def build(
        self, model: str | int | None = None, round: int | str | None = None, plug_ins: bool = False
    ) -> nn.Module:
        """The network of this run with the numbers of such a model, in evaluation mode.

        A network that does not come with mpidl is code, which runs only where `plug_ins` says so.
        """
        return models.build(self.model(model, round), self.config.get("model"), plug_ins)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status}, {self.records} records)"


def open(path: str | Path) -> Run:
    """Opens a run file of this or an older mpidl; anything else is answered in one sentence (ResultsError)."""
    return checked.read(Path(path), take(Path(path)))


def take(path: Path) -> Callable[[Group], Run]:
    """What makes a run of the root of this file, which is not open yet."""
    # Asked before the status is read: a writer that ends in between is seen as one that has finished.
    written = lock.is_held(path)
    return lambda root: _run(path, root, written)


def _run(path: Path, root: Group, written: bool) -> Run:
    """All that is in a file, columns as far as they are small."""
    if "schema_version" not in root.attribute_names or "metrics" not in root:
        raise NoRunFile(f"{str(path)!r} is an HDF5 file, but not a run file of mpidl")
    version = root.count("schema_version")
    if version > SCHEMA_VERSION:
        newer = root.word("mpidl_version") if "mpidl_version" in root.attribute_names else "a newer one"
        raise ResultsError(
            f"{str(path)!r} has schema {version}, this mpidl reads up to {SCHEMA_VERSION}: update mpidl to {newer}"
        )
    metrics, timing = root.group("metrics"), root.group("timing")
    records, agents = metrics.count("records"), root.count("agents")
    if not agents:
        raise ValueError("it tells of a run without agents")
    _check_metrics(metrics, records)
    timing.columns(2, 2)
    status, provenance = root.word("status"), _provenance(root.group("provenance"))
    run = Run(
        path=path,
        name=root.word("name"),
        status=status,
        abandoned=not written and status == "running",
        agents=agents,
        records=records,
        created=root.word("created"),
        updated=root.time("updated"),
        finished=root.word("finished"),
        config_text=root.text("config"),
        provenance=provenance,
        graph=_graph(root.group("graph")) if "graph" in root else None,
        metrics=Columns(path, "metrics", records, _scales_first(metrics.names)),
        timing=Columns(path, "timing", records, timing.names),
        snapshots=_snapshots(path, root),
        kept=models.find(root),
        events=_events(root.group("events")),
        quantities={
            name: (table.of_column(name, "units"), table.of_column(name, "description"))
            for table in (timing, metrics)
            for name in table.names
        },
    )
    left = run.metrics.load(root, _LOADED_AT_ONCE)
    run.timing.load(root, left)
    return run


def _check_metrics(metrics: Group, records: int) -> None:
    """Refuses what readers could stumble over later."""
    for name, shape in metrics.columns(2).items():
        if name in SCALES and len(shape) > 1:
            raise ValueError(f"/metrics/{name} is no column of numbers")
    if records:
        for scale in SCALES:
            metrics.shape(scale, WHOLE if scale == "round" else NUMBERS)


def _provenance(group: Group) -> dict[str, Any]:
    provenance = group.attributes() | {name: group.group(name).attributes() for name in group.names}
    hosts = provenance.get("hosts", [])
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise ValueError("its hosts are no list of names")
    return provenance


def _graph(group: Group) -> dict[str, Any]:
    return group.attributes() | {name: group.array(name, NUMBERS) for name in group.names}


def _snapshots(path: Path, root: Group) -> Columns:
    """The models that are kept, with `round`; empty where none is."""
    if "snapshots" not in root:
        return Columns(path, "snapshots", 0, ())
    group = root.group("snapshots")
    names = ("round", *models.names(group))
    for name in names:
        shape = group.shape(name, WHOLE if name == "round" else NUMBERS)
        if len(shape) not in ((1,) if name == "round" else (2, 3)):
            raise ValueError(f"/snapshots/{name} is no column of models")
    columns = Columns(path, "snapshots", group.count("records"), names)
    columns.load(root, _LOADED_AT_ONCE // 16)
    return columns


def _scales_first(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: (SCALES.index(name) if name in SCALES else len(SCALES), name)))


def _events(group: Group) -> tuple[Event, ...]:
    count = group.count("records")
    if not count:
        return ()
    times, rounds = checked.moments(group.array("time", NUMBERS, count)), group.array("round", WHOLE, count).tolist()
    kinds, texts = (group.array(name, "S", count).tolist() for name in ("kind", "text"))
    return tuple(
        Event(time, round_, kind.decode(errors="replace"), text.decode(errors="replace"))
        for time, round_, kind, text in zip(times, rounds, kinds, texts, strict=True)
    )
