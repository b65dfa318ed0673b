"""Copies in the memory of two ranks: those that are left have every item of the state, as it was, wherever it goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mpidl.errors import ConfigError
from tests.algorithms.problems import run
from tests.algorithms.resuming import assert_records_continue
from tests.ranks import on_ranks
from tests.training.runs import configuration
from tests.training.test_resume import CASES

# Ranks that are gone, and whether all parts are there without them: 1 keeps that of 0, and so on.
GONE = {(3,): True, (0,): True, (0, 2): True, (1, 2): False, (3, 0): False, (1, 2, 3): False}


@pytest.mark.parametrize("name", CASES)
@on_ranks(4)
def test_those_that_are_left_go_on_from_the_newest_whole_copies_to_the_same_bits(name, comm):
    from mpi4py import MPI

    from mpidl.comm.world import World
    from mpidl.training.buddies import Memory, deal

    config = configuration(**{"checkpoint": {}} | CASES[name], evaluate={"every": 5}, train={"rounds": 14})
    whole, memory = run(config, comm), Memory()
    generations = made(config, comm, memory, rounds=9)

    def take_up(composed):
        found, lost = memory.look(composed.world)
        assert (found.round, lost) == (8, None)
        deal(composed.world, composed.state, found.parts)
        composed.training.done = found.round

    assert [(each.round, each.whole, len(each.parts)) for each in generations] == [(4, True, 2), (8, True, 2)]
    # As if they had died when only one had heard of all that the last copies have arrived.
    generations[1] = replace(generations[1], whole=comm.rank == 2)
    for gone, there in GONE.items():
        part = comm.Split(MPI.UNDEFINED if comm.rank in gone else 0, comm.rank)
        if part == MPI.COMM_NULL:
            comm.Barrier()
            continue
        memory.generations = [replace(each) for each in generations]
        if there and 2 not in gone:
            resumed = run(config, part, before=take_up)
            assert_records_continue(whole.records, resumed.records)
            assert (resumed.rows == whole.rows).all()
        else:
            world = World(part, part.size)
            found, lost = memory.look(world)
            assert (found and found.round, lost) == ((4, None) if there else (None, 4 if 2 in gone else 8))
            world.close()
        part.Free()
        comm.Barrier()


def made(config, comm, memory, rounds):
    """The copies that a run keeps every four rounds."""
    from mpidl.experiment.compose import compose
    from mpidl.training.buddies import Buddies

    composed = compose(config, comm)
    training, meters, generations = composed.training, composed.world.meters, []
    buddies = Buddies(memory, 4, composed.state, composed.world, composed.meters)
    for hook in training.hooks:
        hook.start(training)
    while training.done < rounds:
        training.run_round()
        before = meters.bytes_mpi
        buddies.after_round(training, training.done)
        if training.done % 4 == 0:
            (newest,) = memory.generations
            generations.append(newest)
            held = sum(values.nbytes for _, values in newest.parts[comm.rank].states.values())
            assert held <= meters.bytes_mpi - before <= held + 2000
    composed.close()
    return generations


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("aaaa", [1, 2, 3, 0]),
        ("aabb", [2, 3, 0, 1]),
        ("abab", [1, 0, 3, 2]),
        ("abcabc", [1, 2, 0, 4, 5, 3]),
        ("aab", [2, 0, 1]),
        ("ab", [1, 0]),
    ],
)
def test_a_copy_is_kept_on_another_host_where_there_is_room(hosts, expected):
    from mpidl.training.buddies import buddies

    found = buddies(list(hosts))
    assert found == expected
    apart = sum(hosts[rank] != hosts[buddy] for rank, buddy in enumerate(found))
    most = max(map(hosts.count, hosts))
    assert apart == (0 if most == len(hosts) else min(len(hosts), 2 * (len(hosts) - most)))


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"failures": {"policy": "abort"}}, "checkpoint.memory: is for ranks .* failures.policy is abort"),
        ({"failures": {"max": 0}}, "failures.max is 0"),
        ({"train": {"state_memory": "1 GB"}}, "needs memory for four copies"),
        ({"checkpoint": {"memory": 0}}, "checkpoint.memory: 0 is no distance"),
    ],
)
def test_copies_without_use_or_room_are_refused(sections, sentence):
    with pytest.raises(ConfigError, match=sentence):
        configuration(**{"checkpoint": {"memory": 2}} | sections)
