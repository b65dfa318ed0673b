"""Reading a run file, also one that is being written: takes no lock and shows no record beyond the committed ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mpidl.errors import ResultsError
from mpidl.results import lock
from mpidl.results.metrics import higher_is_better
from mpidl.results.names import SCALES, SCHEMA_VERSION
from mpidl.results.storage import is_hdf5, open_file, system_words

if TYPE_CHECKING:
    import h5py


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


class Columns(Mapping[str, np.ndarray]):
    """The columns of one table by name, each read from the file when it is first asked for."""

    def __init__(self, path: Path, table: str, rows: int, names: tuple[str, ...]) -> None:
        self._path = path
        self._table = table
        self._rows = rows
        self._names = names
        self._read: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            with _open(self._path) as file:
                column = file[self._table][name][: self._rows]
            if len(column) < self._rows:
                raise ResultsError(f"{str(self._path)!r} was cut back while it was read; read it again")
            self._read[name] = column
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


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
    events: tuple[Event, ...]
    quantities: dict[str, tuple[str, str]]

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        import yaml

        try:
            return dict(yaml.safe_load(self.config_text))
        except (yaml.YAMLError, TypeError, ValueError) as error:
            raise ResultsError(f"{str(self.path)!r} is damaged: its /config is no YAML mapping") from error

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
        totals = np.where(measured, values, 0.0).sum(axis=1)
        return np.divide(totals, measured.sum(axis=1), out=np.full(len(values), np.nan), where=measured.any(axis=1))

    def timing_total(self, name: str) -> np.ndarray:
        """A meter at the end of the run as `[rank]`: a meter that fell was started anew by a resume, and goes on."""
        values = self.timing[name]
        # Records without timing say nothing; a rank that others have, and a record lacks, was not there.
        values = np.nan_to_num(values[~np.isnan(values).all(axis=1)])
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

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status}, {self.records} records)"


def open(path: str | Path) -> Run:
    """Opens a run file of this or an older mpidl; anything else is answered in one sentence (ResultsError)."""
    path = Path(path)
    _refuse_other_than_file(path)
    # Asked before the status is read: a writer that ends in between is seen as one that has finished.
    written = lock.is_held(path)
    with _open(path) as file:
        version = file.attrs.get("schema_version")
        if version is None or "metrics" not in file:
            raise ResultsError(f"{str(path)!r} is an HDF5 file, but not a run file of mpidl")
        if version > SCHEMA_VERSION:
            raise ResultsError(
                f"{str(path)!r} has schema {version}, this mpidl reads up to {SCHEMA_VERSION}: update mpidl to "
                f"{_text(file.attrs.get('mpidl_version', 'a newer one'))}"
            )
        records = int(file["metrics"].attrs["records"])
        agents, provenance = int(file.attrs["agents"]), _mapping(file["provenance"])
        _check(file, records, agents, provenance)
        quantities = {
            name: (_text(dataset.attrs.get("units", "")), _text(dataset.attrs.get("description", "")))
            for table in ("timing", "metrics")
            for name, dataset in file[table].items()
        }
        return Run(
            path=path,
            abandoned=not written and _text(file.attrs["status"]) == "running",
            agents=agents,
            records=records,
            config_text=_text(file["config"][()]),
            provenance=provenance,
            graph=_mapping(file["graph"]) if "graph" in file else None,
            metrics=Columns(path, "metrics", records, _scales_first(file["metrics"])),
            timing=Columns(path, "timing", records, tuple(file["timing"])),
            snapshots=_snapshots(path, file),
            events=_events(file["events"]),
            quantities=quantities,
            **{key: _text(file.attrs[key]) for key in ("name", "status", "created", "updated", "finished")},
        )


def _snapshots(path: Path, file: h5py.File) -> Columns:
    """The models that are kept, with `round`; empty where none is."""
    group = file.get("snapshots")
    return Columns(path, "snapshots", *((int(group.attrs["records"]), tuple(group)) if group is not None else (0, ())))


def _refuse_other_than_file(path: Path) -> None:
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no regular file" if path.exists() else "not there"
            raise ResultsError(f"{str(path)!r} is {what}; give a run file (*.h5)")
    except OSError as error:
        if isinstance(error, ResultsError):
            raise
        raise ResultsError(f"{str(path)!r} cannot be read: {error.strerror}") from error


def _check(file: h5py.File, records: int, agents: int, provenance: Mapping[str, Any]) -> None:
    """Refuses, as a damaged file, what readers could stumble over later."""
    if records < 0 or agents < 1:
        raise ValueError(f"it tells of {records} records of {agents} agents")
    missing = [scale for scale in SCALES if records and scale not in file["metrics"]]
    if missing:
        raise ValueError(f"/metrics/{missing[0]} is missing")
    for table, most in (("metrics", (1, 2)), ("timing", (2,))):
        for name, column in file[table].items():
            allowed = (1,) if table == "metrics" and name in SCALES else most
            if column.ndim not in allowed or column.dtype.kind not in "fiu":
                raise ValueError(f"/{table}/{name} is no column of numbers")
    hosts = provenance.get("hosts", [])
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise ValueError("its hosts are no list of names")
    datetime.fromisoformat(_text(file.attrs["updated"]))


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    """The file, with everything that HDF5 may say about a file that is none of ours put into one sentence."""
    _refuse_other_than_file(path)
    try:
        if not is_hdf5(path):
            raise ResultsError(f"{str(path)!r} is not an HDF5 file")
        with open_file(path, "r") as file:
            yield file
    except ResultsError:
        raise
    except OSError as error:
        raise ResultsError(f"{str(path)!r} cannot be read: {system_words(error)}") from error
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ResultsError(f"{str(path)!r} is damaged, or no run file of mpidl: {system_words(error)}") from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    """A value read from an attribute as plain Python."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value.item() if isinstance(value, np.generic) else value


def _mapping(group: h5py.Group) -> dict[str, Any]:
    import h5py

    inner = {key: _mapping(item) if isinstance(item, h5py.Group) else item[()] for key, item in group.items()}
    return {key: _plain(value) for key, value in group.attrs.items()} | inner


def _scales_first(metrics: h5py.Group) -> tuple[str, ...]:
    names = list(metrics)
    return tuple(sorted(names, key=lambda name: (SCALES.index(name) if name in SCALES else len(SCALES), name)))


def _events(group: h5py.Group) -> tuple[Event, ...]:
    count = int(group.attrs["records"])
    if not count:
        return ()
    columns = [group[name][:count].tolist() for name in Event._fields]
    return tuple(
        Event(time, round_, kind.decode(), text.decode(errors="replace"))
        for time, round_, kind, text in zip(*columns, strict=True)
    )
