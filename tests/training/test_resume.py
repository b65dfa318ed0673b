"""A run that stops, is ended or damaged goes on from its newest whole checkpoint: the same numbers, none twice."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpidl.errors import ConfigError, ResultsError, SaveError, Stopped
from tests.algorithms.resuming import parts, shared_folder
from tests.ranks import on_ranks
from tests.training.runs import configuration

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


CASES = {
    "statistics of agents": {"model": PLUG_INS + "normed", "checkpoint": {"every": 3, "snapshots": 2}},
    "agents that move": {
        "algorithm": {"name": "feddyn", "lr": 0.1, "participation": 0.5, "local_steps": 2},
        "model": PLUG_INS + "normed",
    },
    "hats of edges": {
        "graph": "one-peer-matching",
        "gossip": {"scheme": {"name": "choco", "gamma": 0.3}, "compressor": "sign", "transport": "messages"},
    },
}


@pytest.mark.parametrize("name", CASES)
@on_ranks(4)
def test_a_run_that_stops_again_and_again_on_other_ranks_ends_as_if_it_had_not(name, comm):
    config = configuration(**EVERY | CASES[name], evaluate={"every": 5}, train={"rounds": 14})
    with shared_folder(comm) as folder:
        path, whole = folder / "run.h5", folder / "whole.h5"
        train(config, comm, whole)
        for number, size in enumerate((4, 2, 3, 3)):
            for part in parts(comm, (size,)):
                with asked(number < 3), pytest.raises(Stopped) if number < 3 else contextlib.nullcontext():
                    train(config, part, path, resume=True)
        assert_alike(path, whole)
        assert len(told(path)) == 3
        assert {entry.name for entry in folder.iterdir()} == {*("run.h5", "run.ckpt", "whole.h5", "whole.ckpt")}, (
            "and leaves nothing half done"
        )


@on_ranks(2)
def test_a_run_that_is_ended_loses_the_rounds_since_its_checkpoint_and_does_them_again(comm):
    from mpidl import results
    from mpidl.results.checkpoints.folder import CheckpointFolder

    config = configuration(**EVERY, evaluate={"every": 1}, train={"rounds": 12})
    with shared_folder(comm) as folder:
        path, whole = folder / "run.h5", folder / "whole.h5"
        train(config, comm, whole)
        with ended_after(8):
            train(config, comm, path)
        # The newest was perhaps not complete.
        newest = CheckpointFolder(path).rounds()[0]
        assert results.open(path).status == "interrupted" and newest in (3, 6)
        comm.Barrier()
        for part in parts(comm, (1,)):
            train(config, part, path, resume=True)
        assert_alike(path, whole)
        (event,) = told(path)
        assert event.startswith(f"resumed after round {newest} on 1 ranks (2 before); {8 - newest} recorded rounds")
        assert CheckpointFolder(path).rounds() == [12, 9]


@on_ranks(2)
def test_a_damaged_checkpoint_is_named_and_passed_over_and_none_that_is_whole_ends_it(comm):
    from mpidl.results.checkpoints.folder import CheckpointFolder, part_name

    config = configuration(**EVERY, train={"rounds": 12})
    with shared_folder(comm) as folder:
        path, whole = folder / "run.h5", folder / "whole.h5"
        train(config, comm, whole)
        with ended_after(11):
            train(config, comm, path)
        checkpoints = CheckpointFolder(path)
        newest, before = checkpoints.rounds()
        comm.Barrier()
        if comm.rank == 0:
            os.truncate(checkpoints.of_round(newest) / part_name(1), 1000)
        comm.Barrier()
        with ended_after(newest):
            train(config, comm, path, resume=True)
        assert "rank-00001.h5 has 1000 bytes" in told(path, "warning")[-1]
        assert told(path)[-1].startswith(f"resumed after round {before} ")
        for round in checkpoints.rounds() if comm.rank == 0 else ():
            os.truncate(checkpoints.of_round(round) / "index.h5", 1000)
        comm.Barrier()
        with pytest.raises(ResultsError, match=r"no checkpoint in .* is whole: .*; --overwrite starts afresh"):
            train(config, comm, path, resume=True)
        train(config, comm, path, overwrite=True)
        assert_alike(path, whole)
        assert told(path) == [] and checkpoints.rounds() == [12, 9]


@on_ranks(2)
def test_a_changed_configuration_is_refused_unless_it_is_meant_or_longer(comm):
    def changed(rounds: int = 8, lr: float = 0.2, **sections: Any) -> Any:
        sections = {"checkpoint": {"every": 3, "final": False}, "evaluate": {"every": 4}} | sections
        return configuration({"name": "dsgd", "lr": lr}, train={"rounds": rounds}, **sections)

    with shared_folder(comm) as folder:
        path, whole = folder / "run.h5", folder / "whole.h5"
        train(changed(12), comm, whole)
        train(changed(8), comm, path)
        with pytest.raises(ConfigError, match=r"algorithm.lr was 0.2 and is 0.1; .*--allow-changes algorithm.lr"):
            train(changed(12, 0.1), comm, path, resume=True)
        with pytest.raises(ConfigError, match="train.rounds was 8 and is 7"):
            train(changed(7), comm, path, resume=True)
        with pytest.raises(ConfigError, match="agents: there are 4 here, and were 5"):
            train(changed(12, agents=4, data={"agents": 4}), comm, path, resume=True)
        with pytest.raises(ConfigError, match="--allow-changes: 'algorithm.rl' is not known; did you mean"):
            train(changed(12, 0.1), comm, path, resume=True, allowed=("algorithm.rl",))
        assert told(path) == []
        # Longer, and what changes no number.
        train(changed(12, checkpoint={"every": 2, "keep": 1, "final": False}), comm, path, resume=True)
        assert_alike(path, whole)
        train(changed(14, 0.1), comm, path, resume=True, allowed=("algorithm",))
        assert "algorithm.lr was 0.2 and is 0.1" in told(path)[-1]
        before = path.read_bytes()
        train(changed(14, 0.1), comm, path, resume=True)
        assert path.read_bytes() == before, "there is nothing left to do"


@on_ranks(2)
def test_where_nothing_is_yet_it_starts_afresh_and_what_has_ended_stays(comm):
    with shared_folder(comm) as folder:
        path, config = folder / "run.h5", configuration()
        train(config, comm, path, resume=True)
        before = path.read_bytes()
        train(config, comm, path, resume=True)
        assert path.read_bytes() == before
        with pytest.raises(ConfigError, match="has ended after round 8 and left no checkpoint"):
            train(configuration(train={"rounds": 9}), comm, path, resume=True)
        other = folder / "other.h5"
        with ended_after(2):
            train(config, comm, other)
        kept = other.read_bytes()
        with pytest.raises(ConfigError, match=r"with another configuration: seed was \d+ and is 77"):
            train(configuration(seed=77), comm, other, resume=True)
        assert other.read_bytes() == kept
        train(config, comm, other, resume=True)
        assert_alike(other, path)
        assert told(other) == []


@on_ranks(2)
def test_a_disk_that_is_full_stops_no_training_and_leaves_the_checkpoint_before(comm):
    from mpidl.results.checkpoints import parts as files
    from mpidl.results.checkpoints.folder import CheckpointFolder

    config, real = configuration(**EVERY), files._write

    def full(descriptor: int, content: memoryview, place: int) -> None:
        if comm.rank == 1 and CheckpointFolder(path).rounds():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor, content, place)

    with shared_folder(comm) as folder:
        path, whole = folder / "run.h5", folder / "whole.h5"
        train(config, comm, whole)
        files._write = full
        try:
            with pytest.raises(SaveError, match=r"checkpoint of round 8 could not be written \(No space left.*rank 1"):
                train(config, comm, path)
        finally:
            files._write = real
        assert_alike(path, whole)
        assert CheckpointFolder(path).rounds() == [3]
        assert {entry.name for entry in CheckpointFolder(path).path.iterdir()} == {"round-000000003"}
        comm.Barrier()
        if comm.rank == 0:
            path.unlink()
            whole.rename(path)
        comm.Barrier()
        train(configuration(**EVERY, train={"rounds": 9}), comm, path, resume=True)


@on_ranks(2)
def test_a_walltime_that_draws_near_stops_the_run_in_time(comm):
    from mpidl.results.checkpoints.folder import CheckpointFolder

    config = configuration(train={"rounds": 10**6, "walltime": "1 s"}, evaluate={"every": 10**6})
    with shared_folder(comm) as folder:
        with pytest.raises(Stopped, match=r"stopped after round \d+ of 1000000; --resume goes on"):
            train(config, comm, folder / "run.h5")
        (round,) = CheckpointFolder(folder / "run.h5").rounds()
        assert 0 < round < 10**6


@on_ranks(2)
def test_memory_for_copies_is_told_beforehand(comm):
    from mpidl.experiment.compose import compose
    from mpidl.experiment.rehearsal import rehearse
    from mpidl.training.copies import StateCopies

    config = configuration({"name": "dsgd", "lr": 0.1, "momentum": 0.9}, model=PLUG_INS + "normed", **EVERY)
    composed = compose(config, comm)
    needed = StateCopies(composed.state, comm.rank).nbytes
    composed.close()
    told = rehearse(config, comm.size).copied_bytes
    # Rows of blocks begin on boundaries, those of copies do not.
    assert 0 < needed <= told <= needed + 64 * len(composed.state.declarations) * 5
    assert rehearse(config.model_copy(update={"checkpoint": configuration().checkpoint}), comm.size).copied_bytes == 0


@on_ranks(1)
def test_a_state_that_has_diverged_is_not_kept(comm):
    from mpidl.errors import DivergenceError
    from mpidl.results.checkpoints.folder import CheckpointFolder

    config = configuration({"name": "csgd", "lr": 1e300, "weight_decay": 1e3}, train={"rounds": 100}, **EVERY)
    with shared_folder(comm) as folder:
        with pytest.raises(DivergenceError):
            train(config, comm, folder / "run.h5")
        assert CheckpointFolder(folder / "run.h5").rounds() == []
