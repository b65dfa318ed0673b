"""The hook that copies the records of a run into a mirror, as long as the mirror can take them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import numpy as np

from mpidl.sentences import told
from mpidl.training import mirrors
from mpidl.training.loop import Hook, Record, Training

log = logging.getLogger("mpidl")


class Mirroring(Hook):
    """Copies the records of a run into one mirror; on rank 0, after the one that writes them into the run file."""

    def __init__(self, name: str, run: mirrors.Mirrored) -> None:
        self._name = name
        self._records: list[Record] = []
        self._mirror: mirrors.Mirror | None = None
        self._try(partial(self._open, run))

    def recorded(self, training: Training, record: Record) -> None:
        there = list(training.world.everyone)
        self._records.append(
            {name: value[there] if isinstance(value, np.ndarray) else value for name, value in record.items()}
        )

    def flushed(self, training: Training) -> None:
        self._try(self._copy)

    def finish(self, training: Training, status: str) -> None:
        # Of a run that others go on with, the run file has only what was flushed.
        if status != "running":
            self._try(self._copy)
        if self._mirror is not None:
            self._try(partial(self._mirror.close, status))

    def _open(self, run: mirrors.Mirrored) -> None:
        self._mirror = mirrors.MIRRORS[self._name](run)

    def _copy(self) -> None:
        records, self._records = self._records, []
        if self._mirror is not None and records:
            for record in records:
                self._mirror.write(scalars(record), int(record["round"]))
            self._mirror.flush()

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            # Whatever a package that only watches has to say: the run is not its to end.
            self._mirror = None
            log.warning("the mirror %r is given up, and the run goes on without: %s", self._name, told(error))


def scalars(record: Record) -> dict[str, float]:
    """A record as numbers: of those that agents have each, the least, the mean and the largest."""
    numbers: dict[str, float] = {}
    for name, value in record.items():
        if name == "round":
            continue
        if isinstance(value, np.ndarray):
            of_agents = {"min": value.min(), "mean": value.mean(), "max": value.max()}
            numbers |= {f"{name}/{which}": float(number) for which, number in of_agents.items()}
        else:
            numbers[name] = float(value)
    return numbers
