"""Writing a run file so that a kill -9 at any moment leaves a file that opens and holds every flushed record.

HDF5 has no journal: a process killed while HDF5 changes a file's structure (a new dataset, a new chunk, the end of the
file) leaves a file that may not open. So the structure of a run file never changes under its name.

- A flush whose rows fit into allocated chunks opens the file, overwrites numbers and dataset sizes in place, then the
  attribute `records`, and closes. Until `records` is written, readers see the rows before: the rest lies beyond it.
- Anything else (a new metric, a full chunk, a longer text) happens in a copy, which replaces the file by one rename.
- Creating a run is a rename too. A copy left by a kill is `<run file>.part`; the next writer overwrites it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidl.comm.meters import METERS
from mpidl.errors import ResultsError, SaveError
from mpidl.metrics import Metric
from mpidl.results import snapshots
from mpidl.results.checkpoints.folder import CheckpointFolder
from mpidl.results.columns import events_columns, metrics_columns, timing_columns
from mpidl.results.layout import TABLES, connect, fill, renew, set_text
from mpidl.results.lock import WriterLock
from mpidl.results.metrics import METRICS
from mpidl.results.names import STATUSES
from mpidl.results.output import check_run_file, unwritable
from mpidl.results.provenance import utc_now
from mpidl.results.snapshots import SNAPSHOTS, Form, Models
from mpidl.results.storage import HDF5_ERRORS, open_file, replace, saving, sync
from mpidl.results.table import Table

if TYPE_CHECKING:
    import h5py

    from mpidl.results.table import Columns

_METERS = {meter.name: meter for meter in METERS}


class RunFile:
    """The run file of one run, held by its only writer: create or open, append and flush, finish.

    Records, timings and events are kept in memory until `flush`; a flush that fails keeps them for the next. Another
    thread may flush as well: `busy` is held while the file is written, and by whoever appends what belongs together.
    """

    def __init__(self, path: Path, agents: int, lock: WriterLock, room: int, metrics: Iterable[Metric]) -> None:
        self.path = path
        self.agents = agents
        self._lock = lock
        self._room = room
        known = {metric.name: metric for metric in (*METRICS, *metrics)}
        self._columns: dict[str, Mapping[str, Metric]] = {"metrics": known, "timing": _METERS}
        self._pending: list[dict[str, Any]] = []
        self._timing: list[dict[str, np.ndarray]] = []
        self._events: list[tuple[float, int, bytes, bytes]] = []
        self._committed_events = 0
        self.records = 0
        self.busy = threading.RLock()

    @classmethod
    def create(
        cls,
        path: str | Path,
        config: Mapping[str, Any],
        provenance: Mapping[str, Any],
        graph: Mapping[str, Any] | None,
        agents: int,
        *,
        overwrite: bool = False,
        room: int = 256,
        metrics: Iterable[Metric] = (),
    ) -> RunFile:
        """A new run file, complete or not there at all.

        `room` is how many records are allocated at a time; `metrics` are those that not every run has.
        """
        path = Path(path)
        check_run_file(path, overwrite)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error
        run = cls(path, agents, WriterLock(path), room, metrics)
        try:
            # Again, because a writer may have finished between the check and the lock.
            check_run_file(path, overwrite)
            CheckpointFolder(path).clear()
            run._replace(lambda file: fill(file, config, provenance, graph, agents), copy=False)
        except HDF5_ERRORS as error:
            run.close()
            raise unwritable(path, error) from error
        except BaseException:
            run.close()
            raise
        run._note_missing_locks()
        return run

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        until_round: int | None = None,
        room: int = 256,
        metrics: Iterable[Metric] = (),
        config: Mapping[str, Any] | None = None,
        data: Mapping[str, str] | None = None,
    ) -> RunFile:
        """A run file to go on with, cut after `until_round`, uncommitted rows always; with what else is given."""
        from mpidl.results import reader

        path = Path(path)
        if not path.is_file():
            raise ResultsError(f"there is no run file {str(path)!r}")
        run = cls(path, 0, WriterLock(path), room, metrics)
        try:
            before = reader.open(path)
            run.agents = before.agents
            run.records = before.records
            if until_round is not None and before.records:
                run.records = int(np.searchsorted(before.metrics["round"], until_round, "right"))
            run._committed_events = len(before.events)
            with saving(path):
                run._replace(lambda file: run._cut_back(file, until_round, config, data))
        except BaseException:
            run.close()
            raise
        run._note_missing_locks()
        return run

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds a record: `round`, and any of `epoch`, `seconds`, `bytes` and metrics, numbers or one for each agent.

        `bytes` is the sum of `bytes_sent` unless it is given.
        """
        row = {name: np.asarray(value, dtype=np.float64) for name, value in record.items()}
        if "bytes_sent" in row:
            row.setdefault("bytes", row["bytes_sent"].sum())
        if "round" not in row:
            raise ValueError("a record needs its 'round'")
        for name, value in row.items():
            if value.shape not in ((), (self.agents,)):
                raise ValueError(f"{name!r} has shape {value.shape}, not () or ({self.agents},)")
        self._pending.append(row)

    def append_timing(self, meters: Mapping[str, np.ndarray]) -> None:
        """Adds each rank's meters, as they stand since it started, to the newest record, not flushed yet."""
        if len(self._timing) >= len(self._pending):
            raise ValueError("timing belongs to a record: append the record first")
        while len(self._timing) < len(self._pending) - 1:
            self._timing.append({})
        self._timing.append({name: np.asarray(value, dtype=np.float64) for name, value in meters.items()})

    def event(self, kind: str, text: str, round: int = -1) -> None:
        """Adds an event, stamped with the time; round -1: before the first. What HDF5 takes in no text is escaped."""
        words = text.encode(errors="backslashreplace").replace(b"\0", rb"\x00")
        self._events.append((time.time(), round, kind.encode(), words))

    def keep(self, group: str, form: Form, models: Models, places: int) -> None:
        """Commits models, one of so many times, after what was appended before; see `mpidl.results.snapshots`.

        Their rows are taken one at a time, which may take long.
        """
        with self.busy:
            self.flush()
            with saving(self.path):
                with open_file(self.path, "r+") as file:
                    there, full = group in file, group == SNAPSHOTS and group in file and snapshots.is_full(file, group)
                if not there:
                    self._replace(lambda file: snapshots.create(file, group, form, places))
                elif full:
                    self._replace(lambda file: snapshots.enlarge(file, group, form, places))
                with open_file(self.path, "r+") as file:
                    snapshots.write(file, group, form, models)

    def kept_last(self, group: str) -> int | None:
        """The round of the newest models in a group, if there are any."""
        with self.busy, open_file(self.path, "r") as file:
            return snapshots.newest(file, group)

    def flush(self) -> None:
        """Commits everything appended so far to the file."""
        with self.busy:
            if not self._pending and not self._events:
                return
            columns = {
                "metrics": metrics_columns(self._pending),
                "timing": timing_columns(self._timing, len(self._pending)),
                "events": events_columns(self._events),
            }
            with saving(self.path):
                self._edit(columns)
            self.records += len(self._pending)
            self._committed_events += len(self._events)
            self._pending, self._timing, self._events = [], [], []

    def finish(self, status: str = "finished") -> None:
        """Flushes, says how the run ended, and gives up the lock.

        That needs no room on the disk: where records do not fit any more, they are lost, and the rest is done.
        """
        if status not in STATUSES:
            raise ValueError(f"{status!r} is not one of {STATUSES}")
        try:
            try:
                self.flush()
            except SaveError as error:
                raise SaveError(f"{error}, and {len(self._pending)} are lost") from error
            finally:
                self.foretell(status)
        finally:
            self.close()

    def foretell(self, status: str) -> None:
        """Says how the run ended, should no more be said: its process may be ended."""
        with self.busy, saving(self.path):
            with open_file(self.path, "r+") as file:
                set_text(file, "status", status)
                set_text(file, "finished", utc_now())
            sync(self.path)

    def close(self) -> None:
        """Gives up the lock; what was not flushed is lost, and the status stays as it is."""
        self._lock.release()

    def _edit(self, columns: Mapping[str, Columns]) -> None:
        with open_file(self.path, "r+") as file:
            tables = self._tables(file)
            spans = self._spans(tables)
            in_place = all(tables[name].fits(*spans[name], columns[name]) for name in TABLES)
            if in_place:
                self._write(file, tables, columns)
        if not in_place:
            self._replace(lambda file: self._write(file, self._tables(file), columns))

    def _tables(self, file: h5py.File) -> dict[str, Table]:
        return {name: Table(file[name], self._room, self._columns.get(name)) for name in TABLES}

    def _spans(self, tables: Mapping[str, Table]) -> dict[str, tuple[int, int]]:
        """Where the new rows of each table begin, and how many they are."""
        records = (self.records, len(self._pending))
        return {"metrics": records, "timing": records, "events": (self._committed_events, len(self._events))}

    def _write(self, file: h5py.File, tables: Mapping[str, Table], columns: Mapping[str, Columns]) -> None:
        spans = self._spans(tables)
        new = {name: tables[name].write(*spans[name], columns[name]) for name in TABLES}
        if new["metrics"]:
            connect(file["metrics"], new["metrics"])
        # HDF5 writes in the order of addresses, so what must come before is handed to the system by a flush: first the
        # numbers, then what makes timings and events count, last what makes the records count.
        file.flush()
        for name in ("events", "timing"):
            tables[name].commit(sum(spans[name]))
        set_text(file, "updated", utc_now())
        file.flush()
        tables["metrics"].commit(sum(spans["metrics"]))

    def _cut_back(self, file: h5py.File, until_round: int | None, *new: Mapping[str, Any] | None) -> None:
        renew(file, *new)
        tables = self._tables(file)
        for name in ("metrics", "timing"):
            tables[name].cut(self.records)
        if until_round is not None:
            snapshots.cut(file, until_round)
        tables["events"].cut(tables["events"].committed)
        set_text(file, "status", "running")
        set_text(file, "finished", "")
        set_text(file, "updated", utc_now())

    def _replace(self, change: Callable[[h5py.File], None], copy: bool = True) -> None:
        with self.busy:
            replace(self.path, change, copy)

    def _note_missing_locks(self) -> None:
        if not self._lock.enforced:
            self.event("warning", "this file system has no locks: a second writer would not be noticed")
