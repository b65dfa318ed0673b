"""Reading a run file, also one that is being written: takes no lock and shows no record beyond the committed ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mpidl.results import checked, frames, glance, lock, models
from mpidl.results.checked import Group
from mpidl.results.glance import Glance
from mpidl.results.lazy import NUMBERS, WHOLE, Columns
from mpidl.results.models import Kept, KeptModel

if TYPE_CHECKING:
    import pandas
    from torch import Tensor, nn


class Event(NamedTuple):
    """Something that happened: seconds since 1970 (UTC), round (-1: before the first), kind, and one sentence."""

    time: float
    round: int
    kind: str
    text: str


@dataclass(frozen=True)
class Run(Glance):
    """One run as it stood when it was opened. Columns of its timing are `[record, rank]`."""

    provenance: dict[str, Any]
    graph: dict[str, Any] | None
    timing: Columns
    snapshots: Columns
    kept: tuple[Kept, ...]
    events: tuple[Event, ...]

    def timing_total(self, name: str) -> np.ndarray:
        """A meter at the end of the run as `[rank]`: a meter that fell was started anew by a resume, and goes on."""
        values = self.timing[name]
        # Records without timing say nothing; a rank that others have, and a record lacks, was not there.
        values = np.nan_to_num(values[~np.isnan(values).all(axis=1)])
        with np.errstate(over="ignore", invalid="ignore"):
            rises = np.diff(values, axis=0, prepend=0.0)
            return np.where(rises < 0, values, rises).sum(axis=0)

    def by_round(self, name: str) -> dict[int, float]:
        """The values of a curve by their rounds; nothing of a metric that the run does not record."""
        values = self.curve(name) if name in self.metrics else np.zeros(0)
        return dict(zip(self.metrics["round"].tolist(), values.tolist(), strict=False)) if len(values) else {}

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

    def frame(self, by_agent: bool = False) -> pandas.DataFrame:
        """The records as a DataFrame: a row for each, with means over agents, or for each value (see `frames`)."""
        return frames.frame(self, by_agent)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status}, {self.records} records)"


def open(path: str | Path) -> Run:
    """Opens a run file of this or an older mpidl; anything else is answered in one sentence (ResultsError)."""
    return checked.read(Path(path), take(Path(path)))


def take(path: Path) -> Callable[[Group], Run]:
    """What makes a run of the root of this file, which is not open yet."""
    # Asked before the status is read: a writer that ends in between is seen as one that has finished.
    loss = lock.loss(path)
    return lambda root: _run(path, root, loss)


def _run(path: Path, root: Group, loss: str) -> Run:
    """All that is in a file, columns as far as they are small."""
    known = glance.facts(path, root, loss)
    metrics, timing = root.group("metrics"), root.group("timing")
    glance.check(metrics, known)
    for name in timing.names:
        timing.check_column(name, most=2, least=2)
        if not timing.shape(name, NUMBERS, sparse=True)[1]:
            raise ValueError(f"/timing/{name} is of no rank")
    run = Run(
        **vars(known),
        provenance=_provenance(root.group("provenance")),
        graph=_graph(root.group("graph")) if "graph" in root else None,
        timing=Columns(path, "timing", known.records, timing.names),
        snapshots=_snapshots(path, root),
        kept=models.find(root),
        events=_events(root.group("events")),
    )
    for table in (timing, metrics):
        run.quantities.update({name: glance.quantity(table, name) for name in table.names})
    left = run.metrics.load(root, glance.LOADED_AT_ONCE)
    run.timing.load(root, left)
    return run


def _provenance(group: Group) -> dict[str, Any]:
    return group.attributes() | {name: group.group(name).attributes() for name in group.names}


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
    columns = Columns(path, "snapshots", group.count("records"), names, dimensions=3)
    columns.load(root, glance.LOADED_AT_ONCE // 16)
    return columns


def _events(group: Group) -> tuple[Event, ...]:
    count = group.count("records")
    if not count:
        return ()
    times, rounds = checked.moments(group.array("time", NUMBERS, count)), group.array("round", WHOLE, count).tolist()
    if min(rounds) < -1:
        raise ValueError("an event has a round that is none")
    kinds, texts = (group.array(name, "S", count).tolist() for name in ("kind", "text"))
    return tuple(
        Event(time, round_, kind.decode(errors="replace"), text.decode(errors="replace"))
        for time, round_, kind, text in zip(times, rounds, kinds, texts, strict=True)
    )
