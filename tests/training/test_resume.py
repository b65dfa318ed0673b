"""A run that stops, is ended or damaged goes on from its newest whole checkpoint: the same numbers, none twice."""

from __future__ import annotations

import contextlib
import errno
import os

import pytest

from mpidl.errors import ConfigError, ResultsError, SaveError, Stopped
from tests.algorithms.resuming import shared_folder
from tests.ranks import on_ranks, parts
from tests.training.resumed import EVERY, PLUG_INS, asked, assert_alike, ended_after, told, train
from tests.training.runs import configuration

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
        assert event.startswith(f"resumed after round {newest} on 1 rank (2 before); {8 - newest} recorded rounds")
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
        with pytest.raises(ResultsError, match=r"no checkpoint in .* is whole: .*; it starts afresh without them"):
            train(config, comm, path, resume=True)
        train(config, comm, path, overwrite=True)
        assert_alike(path, whole)
        assert told(path) == [] and checkpoints.rounds() == [12, 9]


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
    in_memory = configuration(checkpoint={"memory": 3}).checkpoint
    assert rehearse(config.model_copy(update={"checkpoint": in_memory}), comm.size).copied_bytes == 4 * told
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
