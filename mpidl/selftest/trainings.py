"""Areas of whole runs: what is written, a checkpoint that another number of ranks goes on from, and equal bits."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mpidl import config as reading
from mpidl.comm.moves import gather_rows
from mpidl.comm.probe import first_ranks
from mpidl.errors import MpidlError
from mpidl.experiment.compose import compose
from mpidl.experiment.rank import Beginning, carry_out
from mpidl.experiment.schema import Config
from mpidl.results.checkpoints import reader
from mpidl.results.checkpoints.folder import CheckpointFolder
from mpidl.results.storage import system_words
from mpidl.selftest.area import Fault, Site
from mpidl.training.loop import Hook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpidl.training.loop import Record, Training

# Stopped after a round in which there is a record anyway.
_ROUNDS, _FIRST = 6, 4
_LEAST_FREE = 2**30
_BYTES = 2**20


class TrainedRun(Hook):
    """What a run came to, on rank 0: its records by round, without times, and the rows of all agents."""

    def __init__(self) -> None:
        self.records: dict[int, Mapping[str, Any]] = {}
        self.rows: Tensor | None = None

    def recorded(self, training: Training, record: Record) -> None:
        self.records[training.done] = {name: value for name, value in record.items() if name != "seconds"}

    def after_round(self, training: Training, done: int) -> None:
        if done == training.rounds:
            algorithm = training.algorithm
            self.rows = gather_rows(training.world, algorithm.model(algorithm.models[-1]))

    def differs(self, other: TrainedRun) -> str:
        """What has other bits than in another outcome, as far as both have been there; or nothing."""
        if self.rows is None or other.rows is None:
            return "rows, one of which are missing,"
        if _bits(self.rows) != _bits(other.rows):
            return f"{int((self.rows != other.rows).sum()):,} of {self.rows.numel():,} parameters"
        for round in sorted(self.records.keys() & other.records.keys()):
            one, two = self.records[round], other.records[round]
            names = [name for name in one if _bits(one[name]) != _bits(two.get(name))]
            if names:
                return f"{', '.join(names[:3])} of round {round}"
        return ""


def _bits(value: Any) -> object:
    return value.numpy().tobytes() if isinstance(value, Tensor) else getattr(value, "tobytes", lambda: repr(value))()


def output(site: Site) -> str:
    """Rank 0 can write where runs go, and all ranks see it there."""
    world, folder, wrong = site.world, site.folder, ""
    if world.rank == 0:
        wrong = _unwritable(folder)
    wrong = world.bcast_text(wrong)
    if wrong:
        raise Fault(f"{str(folder)!r} cannot be written: {wrong}", "name another folder with -o, or make room there")
    seen = folder.is_dir()
    world.barrier()
    if not seen:
        raise Fault(f"{world.host} does not see {str(folder)!r}", "name a folder with -o that all hosts share")
    _, _, left = shutil.disk_usage(folder)
    if left < _LEAST_FREE:
        raise Fault(f"{left / 2**20:,.0f} MiB are free in {str(folder)!r}", "make room, or name another with -o")
    return f"{left / 2**30:,.0f} GiB are free in {str(folder.parent)!r}"


def _unwritable(folder: Path) -> str:
    """Why the folder cannot hold a file that is read again as it was written, or nothing."""
    path, data = folder / "written", os.urandom(_BYTES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        same = path.read_bytes() == data
        path.unlink()
    except OSError as error:
        return system_words(error)
    return "" if same else "what is read is not what was written"


def checkpoint(site: Site) -> str:
    """A checkpoint is written and whole, and another number of ranks goes on from it to the same bits."""
    world, path = site.world, site.folder / "resumed.h5"
    fewer = max(1, world.size - 1)
    whole = _trained(site, "whole.h5", world.size, _ROUNDS)
    _trained(site, path.name, world.size, _FIRST, every=_FIRST)
    wrong = world.bcast_text(_damage(path) if world.rank == 0 else "")
    if wrong:
        raise Fault(wrong, "the disk or its network alters what is written: name another folder with -o")
    gone_on = _trained(site, path.name, fewer, _ROUNDS, Beginning(resume=True), every=_FIRST)
    wrong = world.bcast_text(whole.differs(gone_on) if world.rank == 0 else "")
    if wrong:
        raise Fault(f"{wrong} have other bits once the run was resumed", "report it, with what mpidl env says")
    return f"written by {world.size} ranks, verified, resumed on {fewer}: the same bits"


def _damage(path: Path) -> str:
    folder = CheckpointFolder(path)
    try:
        reader.open(folder.of_round(_FIRST)).verify()
    except MpidlError as error:
        return str(error)
    return ""


def determinism(site: Site) -> str:
    """A short run has the same bits when it is repeated, and on one rank."""
    size = site.world.size
    first = _trained(site, "first.h5", size, _ROUNDS)
    wrong = ""
    for name, ranks in (("repeated", size), ("on one rank", 1)):
        other = _trained(site, "other.h5", ranks, _ROUNDS, Beginning(overwrite=True))
        differs = site.world.bcast_text(first.differs(other) if site.world.rank == 0 else "")
        wrong = wrong or (f"{name}, a run has other bits: {differs}" if differs else "")
    if wrong:
        raise Fault(wrong, "see whether OMP_NUM_THREADS or MKL settings differ between hosts; else report it")
    return f"twice on {size} ranks and once on 1: the same bits"


def _trained(
    site: Site,
    name: str,
    ranks: int,
    rounds: int,
    beginning: Beginning | None = None,
    every: int | None = None,
) -> TrainedRun:
    """The outcome of a short run on the first so many ranks. A collective call of all."""
    outcome = TrainedRun()
    with first_ranks(site.world, ranks) as part:
        if part is not None:
            run = compose(_configuration(site.world.agents, rounds, every), part, site.folder)
            run.training.hooks.append(outcome)
            carry_out(run, site.folder / name, beginning or Beginning(), say=_silent, make_progress=lambda _: Hook())
    return outcome


def _silent(sentence: str) -> None:
    """Nobody is told of runs that only check."""


def _configuration(agents: int, rounds: int, every: int | None) -> Config:
    keys: dict[str, Any] = {
        "name": "selftest",
        "seed": 1,
        "agents": agents,
        "model": {"name": "mlp", "hidden": [16]},
        "data": {"name": "blobs", "batch": 8},
        "algorithm": {"name": "dsgd", "lr": 0.1, "momentum": 0.9},
        "graph": "ring",
        "train": {"rounds": rounds},
        "evaluate": {"every": 2},
        "checkpoint": {"every": every, "final": False},
    }
    return reading.validate(Config, keys)
