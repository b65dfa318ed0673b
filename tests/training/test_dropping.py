"""When agents are gone with their ranks, the others go on as a run of them alone would from there, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from mpidl.comm.placement import Placement
from mpidl.errors import ConfigError
from tests.algorithms.problems import run
from tests.algorithms.resuming import assert_same, shared_folder
from tests.ranks import on_ranks
from tests.training.dropping import load_without, save
from tests.training.resumed import PLUG_INS
from tests.training.runs import configuration

CHOCO = {"scheme": {"name": "choco", "gamma": 0.3}, "compressor": "sign", "transport": "messages"}
SQUEEZED = {"scheme": {"name": "deepsqueeze", "gamma": 0.3}, "compressor": {"name": "lowrank", "rank": 1}}
HATS = ("parameters: hats", "parameters: mixed hats")
ERRORS = ("cross-gradients: compression errors", "cross-gradients: own compression errors")
HALF = {"lr": 0.1, "participation": 0.5, "local_steps": 2}

# By what is tried: the run, and the states that begin anew.
CASES = {
    "dsgd": ({"algorithm": {"name": "dsgd", "lr": 0.1, "momentum": 0.9}, "model": PLUG_INS + "normed"}, ()),
    "choco": ({"gossip": CHOCO}, HATS),
    "choco, edge by edge": ({"gossip": CHOCO, "graph": "one-peer-matching"}, ()),
    "deepsqueeze": ({"gossip": SQUEEZED}, ()),
    "ngc": (
        {
            "algorithm": {"name": "ngc", "lr": 0.1},
            "gossip": CHOCO | {"cross_gradients": "sign"},
        },
        ("parameters: hats", "parameters: neighbours' hats", *ERRORS),
    ),
    "gradient-tracking": ({"algorithm": {"name": "gradient-tracking", "lr": 0.1}}, ("tracker", "last gradient")),
    "exact-diffusion": ({"algorithm": {"name": "exact-diffusion", "lr": 0.1}}, ("correction",)),
    "sgp": ({"algorithm": {"name": "sgp", "lr": 0.1}, "graph": "exponential"}, ()),
    "noloco": ({"algorithm": {"name": "noloco", "lr": 0.01, "local_steps": 2}, "graph": "one-peer-matching"}, ()),
    "csgd": ({"algorithm": {"name": "csgd", "lr": 0.1, "momentum": 0.9}, "model": PLUG_INS + "normed"}, ()),
    "local-sgd": ({"algorithm": {"name": "local-sgd", "momentum": 0.9, "weighting": "data"} | HALF}, ()),
    "scaffold": ({"algorithm": {"name": "scaffold"} | HALF}, ("control", "controls")),
    "feddyn": ({"algorithm": {"name": "feddyn"} | HALF}, ("gradient corrections", "h")),
}
SHORT = ("dsgd", "choco", "choco, edge by edge", "ngc", "gradient-tracking", "scaffold")


@pytest.mark.parametrize(
    "name", [name if name in SHORT else pytest.param(name, marks=pytest.mark.full) for name in CASES]
)
@on_ranks(4)
def test_those_that_are_left_go_on_as_they_would_alone(name, comm):
    from mpi4py import MPI

    from mpidl.experiment.compose import compose
    from mpidl.training.buddies import Memory, OwnCopies, restore

    sections, anew = CASES[name]
    config = configuration(
        **sections, agents=7, failures={"policy": "drop"}, evaluate={"every": 3}, train={"rounds": 11}
    )
    memory, dealt = Memory(), Placement.contiguous(7, 4)
    with shared_folder(comm) as folder:
        path = folder / "run.h5"
        composed = compose(config, comm)
        composed.training.hooks.append(OwnCopies(memory, 1, composed.state, composed.world, composed.meters))
        save(composed, path, done=4)
        for gone in ((1,), (0, 3)):
            left = [rank for rank in range(4) if rank not in gone]
            there = dealt.left_to(left)
            lost = [agent for rank in gone for agent in dealt.of_rank(rank)]
            assert there.gone == tuple(lost) and len(there.everyone) == 7 - len(lost)

            def take_back(composed, memory=memory):
                # As if one rank alone had heard that all have their copies.
                memory.generations = [replace(each, whole=composed.world.rank == 0) for each in memory.generations]
                found, newer = memory.look(composed.world, alone=True)
                assert (found.round, newer) == (4, None)
                restore(composed.state, found.parts)
                composed.training.done = found.round

            def take_from_all(composed):
                load_without(composed, path, 4, anew)

            part = comm.Split(MPI.UNDEFINED if comm.rank in gone else 0, comm.rank)
            outcome = None
            if part != MPI.COMM_NULL:
                outcome = run(config, part, before=take_back, placement=there)
                part.Free()
            outcomes = comm.allgather(outcome)
            if comm.rank == 0:
                alone = Placement.contiguous(7, 1, there.gone)
                expected = run(config, MPI.COMM_SELF, before=take_from_all, placement=alone)
                assert_same(outcomes[left[0]], expected, name)
                for record in expected.records:
                    values = record.get("test_accuracy_local")
                    assert values is None or np.flatnonzero(np.isnan(values)).tolist() == lost
            comm.Barrier()


@on_ranks(3)
def test_rows_of_those_that_are_left_come_to_their_mean(comm):
    """Without steps, to that of the moment in which the others went; the numbers are those of the complement of W."""
    from mpidl.comm.world import World
    from mpidl.experiment.compose import compose

    config = configuration(
        {"name": "dsgd", "lr": 0.0}, agents=6, model={"name": "logistic", "init": "per-agent"}, train={"rounds": 60}
    )
    with shared_folder(comm) as folder:
        path = folder / "run.h5"
        save(compose(config, comm), path, done=1)
        placement = Placement((0, 1, 1, 2), 3, gone=(2, 3))
        start, rows = {}, {}

        def take_from_all(composed):
            load_without(composed, path, 1, ())
            start.update(
                {
                    agent: row.clone()
                    for agent, row in zip(composed.world.mine, composed.training.algorithm.X, strict=True)
                }
            )

        outcome = run(config, comm, before=take_from_all, placement=placement)
        for each in comm.allgather(start):
            rows |= each
        mean = np.mean([row.numpy() for row in rows.values()], axis=0)
        assert sorted(rows) == [0, 1, 4, 5]
        assert np.abs(outcome.rows - mean).max() < 1e-9 < np.ptp([row.numpy() for row in rows.values()], axis=0).max()
        world = World(comm, placement)
        assert (world.agents, world.everyone) == (6, (0, 1, 4, 5))
        world.close()


@on_ranks(1)
def test_a_run_goes_on_without_those_whom_its_newest_whole_checkpoint_is_without(comm):
    from mpidl.experiment.compose import compose
    from mpidl.experiment.recovery import left_out
    from mpidl.results.checkpoints.folder import CheckpointFolder, part_name

    config = configuration(agents=5, train={"rounds": 9})
    with shared_folder(comm) as folder:
        path = folder / "run.h5"
        assert left_out(comm, path) == ()
        save(compose(config, comm), path, done=2)
        assert left_out(comm, path) == ()
        save(compose(config, comm, placement=Placement.contiguous(5, 1, (1, 4))), path, done=3)
        assert left_out(comm, path) == (1, 4)
        newest = CheckpointFolder(path).of_round(3)
        with h5py.File(newest / "index.h5") as index:
            rows = index["state/parameters"][()]
            assert np.isnan(rows[[1, 4]]).all() and np.isfinite(rows[[0, 2, 3]]).all() and len(rows) == 5
        (newest / part_name(0)).write_bytes(b"")
        assert left_out(comm, path) == ()


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"algorithm": {"name": "relaysgd"}}, "failures.policy: 'drop' is not for relaysgd, .*; say adopt"),
        (
            {"algorithm": {"name": "csgd"}, "train": {"state_memory": "1 GB"}},
            "'drop' needs memory for two copies of the state",
        ),
    ],
)
def test_drop_is_refused_where_numbers_would_be_wrong(sections, sentence):
    with pytest.raises(ConfigError, match=sentence):
        configuration(**sections, failures={"policy": "drop"})
