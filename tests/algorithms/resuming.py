"""Runs that are compared bit for bit: on other ranks, and stopped and resumed."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.algorithms.problems import run
from tests.ranks import parts


def assert_same(first: Any, other: Any, what: str) -> None:
    """Both outcomes hold the same bits."""
    assert np.array_equal(first.rows, other.rows), f"parameters differ: {what}"
    assert len(first.records) == len(other.records)
    for one, two in zip(first.records, other.records, strict=True):
        assert one.keys() == two.keys()
        for key in one:
            assert np.array_equal(one[key], two[key], equal_nan=True), f"{key} of round {one['round']} differs: {what}"


def assert_resuming_twice_is_exact(
    config: Any, comm: Any, ways: Sequence[tuple[int, int, int]], whole: Any = None
) -> None:
    """Stopped after about a third and two thirds of its rounds, on so many ranks each time, a run ends as it would.

    Its state goes through the files of a checkpoint. Twice, because what a first resume leaves behind shows at the
    second; and between two records, because what the next one tells of earlier rounds must be there, too. `whole`: what
    a run that is not stopped leaves, where that is known.
    """
    whole, rounds = whole or run(config, comm), config.train.rounds
    stops = (rounds // 3 + 1, 2 * rounds // 3 + 1)
    with shared_folder(comm) as folder:
        for number, way in enumerate(ways):
            path = folder / f"{number}.h5"
            for ranks, begin, end in zip(way, (0, *stops), (*stops, None), strict=True):
                for part in parts(comm, (ranks,)):
                    if end is not None:
                        saved(config, part, path, begin, end)
                    else:
                        resumed = run(config, part, before=functools.partial(take_up, path=path, done=begin))
                        assert np.array_equal(resumed.rows, whole.rows), f"{way} ranks"
                        assert_records_continue(whole.records, resumed.records)


@contextlib.contextmanager
def shared_folder(comm: Any) -> Iterator[Path]:
    """A folder of all ranks, in memory where that can be: its files are synced again and again."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = comm.bcast(tempfile.mkdtemp(prefix="mpidl-tests-", dir=memory) if comm.rank == 0 else None)
    try:
        yield Path(folder)
        comm.Barrier()
    finally:
        # After a failure without the others, which may be waiting elsewhere.
        shutil.rmtree(folder, ignore_errors=True)


def saved(config: Any, comm: Any, path: Path, begin: int, end: int) -> None:
    """Runs the rounds from `begin` to `end`, and leaves a checkpoint of the last beside this run file."""
    from mpidl.experiment.compose import compose
    from mpidl.results.checkpoints.folder import CheckpointFolder
    from mpidl.results.checkpoints.index import Facts
    from mpidl.training.checkpoint_writer import CheckpointWriter

    composed = compose(config, comm)
    if begin:
        take_up(composed, path, begin)
    for hook in composed.training.hooks:
        hook.start(composed.training)
    while composed.training.done < end:
        composed.training.run_round()
    composed.training.settle()
    path.touch()
    writer = CheckpointWriter(composed.state, composed.world, CheckpointFolder(path), path, keep=2)
    writer.begin(Facts(end, config.train.rounds, 1.0, composed.world.agents, "{}", {}, {}), apart=False)
    writer.conclude()
    assert writer.unsaved is None
    composed.close()


def take_up(composed: Any, path: Path, done: int) -> None:
    """Goes on from the checkpoint after so many rounds."""
    from mpidl.experiment.resume import load
    from mpidl.results.checkpoints import reader
    from mpidl.results.checkpoints.folder import CheckpointFolder

    composed.world.barrier()
    checkpoint = reader.open(CheckpointFolder(path).of_round(done))
    checkpoint.verify()
    load(composed.state, checkpoint)
    composed.training.done = done


def assert_records_continue(whole: list[dict[str, Any]], resumed: list[dict[str, Any]]) -> None:
    """All that is measured after a resume is what the undisturbed run has measured."""
    later = {record["round"]: record for record in whole}
    for record in resumed:
        assert record.keys() == later[record["round"]].keys()
        for key, value in record.items():
            assert np.array_equal(value, later[record["round"]][key], equal_nan=True), key
