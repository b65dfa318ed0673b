"""Tests under real MPI: one launch runs all cases of a folder.

A test that wants ranks says how many, and takes their communicator:

    from tests.ranks import on_ranks

    @on_ranks(1, 2, 4)
    def test_every_rank_knows_its_number(comm):
        assert comm.allgather(comm.rank) == list(range(comm.size))

It runs on every rank of `comm`; it passes if it passes on all of them. It may be parametrised (with values that can be
pickled), and may take `tmp_path`, one folder for all ranks of the case; it can take no other fixture. The launch costs
seconds, so all selected cases of a folder share one, each with a communicator of its own. A case that leaves a rank
stuck ends the launch, and another one runs the rest.

What ranks have imported differs, once some have run cases without the others. So no hypothesis here: what it draws
depends on the modules that a process has loaded, and the ranks would draw different examples.

pytest's side is in conftest.py; `python -m tests.ranks FOLDER`, started by mpirun, is the other, and writes a line of
JSON for every case and rank.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import importlib
import json
import logging
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

# A case that takes longer has hung: none of them is meant to take more than a few seconds.
CASE_SECONDS = 60
# How long the other ranks get to end a case in which one has failed, before they count as stuck.
GRACE_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of a test function on `ranks` ranks."""

    name: str
    module: str
    function: str
    ranks: int
    parameters: dict[str, Any]
    folder: str | None


def on_ranks(*ranks: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Runs the test on each of these numbers of ranks."""

    def mark(function: Callable[..., None]) -> Callable[..., None]:
        function.on_ranks = ranks  # type: ignore[attr-defined]
        return function

    return mark


def _run_case(case: Case, comm: Any) -> dict[str, str]:
    """The outcome of the case on this rank."""
    import pytest

    arguments = dict(case.parameters, comm=comm)
    if case.folder is not None:
        arguments["tmp_path"] = Path(case.folder)
    try:
        getattr(importlib.import_module(case.module), case.function)(**arguments)
    except pytest.skip.Exception as skipped:
        return {"outcome": "skipped", "text": str(skipped)}
    except BaseException as error:
        # The first frame is this function's own.
        error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
        return {"outcome": "failed", "text": "".join(traceback.format_exception(error))}
    return {"outcome": "passed", "text": ""}


def _run_all(folder: Path) -> None:
    """Runs the cases on the ranks of this launch."""
    import mpi4py

    mpi4py.rc.initialize = False
    mpi4py.rc.finalize = True
    from mpi4py import MPI

    MPI.Init_thread(MPI.THREAD_MULTIPLE)
    world = MPI.COMM_WORLD
    # pytest rewrites the assertions of the modules it imports, so that they show their values; these here, too.
    from _pytest.assertion import install_importhook
    from _pytest.config import get_config

    config = get_config()
    config.parse(["--assert=rewrite", "-p", "no:cacheprovider", str(folder)])
    install_importhook(config)
    cases: list[Case] = pickle.loads((folder / "cases.pickle").read_bytes())
    with (
        (folder / f"rank-{world.rank}.jsonl").open("w") as results,
        (folder / f"stack-{world.rank}").open("w") as stack,
    ):

        def tell(**line: Any) -> None:
            results.write(json.dumps(line) + "\n")
            results.flush()

        for case in cases:
            # A fresh communicator, so that messages which one case leaves behind meet no other.
            comm = world.Split(0 if world.rank < case.ranks else MPI.UNDEFINED, world.rank)
            found = {"outcome": "passed", "text": ""}
            if comm != MPI.COMM_NULL:
                tell(case=case.name, outcome="started", text="")
                faulthandler.dump_traceback_later(CASE_SECONDS, file=stack)
                begin = time.monotonic()
                found = _run_case(case, comm)
                faulthandler.cancel_dump_traceback_later()
                tell(case=case.name, seconds=time.monotonic() - begin, **found)
            if not all_arrive(world, GRACE_SECONDS if found["outcome"] == "failed" else None):
                world.Abort(1)
            if comm != MPI.COMM_NULL:
                comm.Free()


def all_arrive(world: Any, patience: float | None = None) -> bool:
    """Whether all ranks end the case; those that wait leave the cores to the others."""
    arrived = world.Ibarrier()
    end = None if patience is None else time.monotonic() + patience
    pause = 1e-4
    while not arrived.Test():
        if end is not None and time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 5e-3)
    return True


def parts(comm: Any, *steps: Sequence[int]) -> Iterator[Any]:
    """For each step in turn, this rank's communicator where the ranks form parts of these sizes, side by side.

    Ranks that are left over wait, and leave the cores to the others.
    """
    from mpi4py import MPI

    for sizes in steps:
        number = next((n for n in range(len(sizes)) if comm.rank < sum(sizes[: n + 1])), MPI.UNDEFINED)
        part = comm.Split(number, comm.rank)
        if part != MPI.COMM_NULL:
            yield part
            part.Free()
        all_arrive(comm)


@contextlib.contextmanager
def logged() -> Iterator[list[tuple[int, str]]]:
    """The messages that this rank logs inside, with their levels."""
    found: list[tuple[int, str]] = []
    log, handler = logging.getLogger("mpidl"), logging.Handler()
    handler.emit = lambda record: found.append((record.levelno, record.getMessage()))  # type: ignore[method-assign]
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield found
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


if __name__ == "__main__":
    # Under `-m` this module is __main__; the pickled cases name it as tests.ranks.
    from tests import ranks as _this

    _this._run_all(Path(sys.argv[1]))
