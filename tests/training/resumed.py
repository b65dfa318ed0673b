"""Runs that end before their time, and what their files tell after they were resumed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PLUG_INS = "tests.training.plugins:"
EVERY = {"checkpoint": {"every": 3}}


def train(config: Any, comm: Any, path: Path, **how: Any) -> None:
    """A run as `mpidl run` has it, with rank 0's file there for all when it returns."""
    from mpidl.experiment import rank

    try:
        rank.train(config, comm, path, rank.Beginning(**how))
    finally:
        comm.Barrier()


@contextlib.contextmanager
def asked(when: bool = True) -> Iterator[None]:
    """As if a signal to stop had come."""
    from mpidl.comm.start import stopping

    if when:
        stopping._asked.set()
    try:
        yield
    finally:
        stopping.forget()


@contextlib.contextmanager
def ended_after(round: int) -> Iterator[None]:
    """As if a rank were told to end at once, while a later round is computed."""
    from mpidl.training.loop import Training

    real = Training.run_round

    def run_round(training: Training) -> None:
        if training.done == round:
            raise KeyboardInterrupt
        real(training)

    Training.run_round = run_round  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        Training.run_round = real  # type: ignore[method-assign]


def outcome(path: Path) -> dict[str, Any]:
    """All that a run file tells of a run but times."""
    from mpidl import results

    run = results.open(path)
    assert run.status == "finished"
    columns = {name: run.metrics[name] for name in run.metrics if name != "seconds"}
    assert (np.diff(run.metrics["seconds"]) > 0).all() and (np.diff(run.metrics["round"]) > 0).all()
    return columns | {f"snapshots/{name}": run.snapshots[name] for name in run.snapshots}


def assert_alike(path: Path, whole: Path) -> None:
    found, expected = outcome(path), outcome(whole)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(found[name], values, equal_nan=True), name


def told(path: Path, kind: str = "resume") -> list[str]:
    from mpidl import results

    return [event.text for event in results.open(path).events if event.kind == kind]
