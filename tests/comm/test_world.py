"""Every rank knows who runs which agent, where, and on what device."""

from __future__ import annotations

import socket

import pytest
import torch

from mpidl.comm.start.startup import library
from mpidl.comm.world import World
from mpidl.errors import ConfigError
from tests.ranks import on_ranks


@on_ranks(1, 2, 3, 4)
@pytest.mark.parametrize("agents", [4, 7])
def test_every_agent_has_one_rank(comm, agents):
    world = World(comm, agents)
    everyone = comm.allgather(world.mine)
    assert [agent for share in everyone for agent in share] == list(range(agents))
    assert all(world.placement.of_rank(rank) == share for rank, share in enumerate(everyone))
    assert (world.rank, world.size) == (comm.rank, comm.size)
    world.close()


@on_ranks(2, 3)
def test_the_table_tells_rank_host_device_and_agents(comm):
    world = World(comm, 7)
    lines = [line.split() for line in world.table().splitlines()]
    host = socket.gethostname()
    expected = {
        2: [["0", host, "cpu", "0-3"], ["1", host, "cpu", "4-6"]],
        3: [["0", host, "cpu", "0-2"], ["1", host, "cpu", "3-4"], ["2", host, "cpu", "5-6"]],
    }[comm.size]
    assert lines == [["rank", "host", "device", "agents"], *expected]
    assert world.host == host
    assert world.device == torch.device("cpu")


@on_ranks(1, 4)
def test_ranks_of_one_host_find_each_other(comm):
    assert World(comm, 4).node_ranks == tuple(range(comm.size))


@on_ranks(2)
def test_messages_of_the_world_do_not_meet_the_callers(comm):
    world = World(comm, 2)
    other = 1 - comm.rank
    request = comm.isend("the caller's", other)
    assert world.comm.sendrecv("ours", other, source=other) == "ours"
    assert comm.recv(source=other) == "the caller's"
    request.wait()


@on_ranks(2)
def test_more_ranks_than_agents_is_refused_on_every_rank(comm):
    with pytest.raises(ConfigError, match="1 agent cannot fill 2 ranks"):
        World(comm, 1)


@on_ranks(1)
def test_the_mpi_library_is_named_in_a_few_words(comm):
    assert library().startswith(("Open MPI v", "MPICH Version: ", "Intel(R) MPI"))
    assert len(library()) < 60


@on_ranks(1)
def test_ranks_of_a_gpu_are_counted_by_host_and_gpu(comm):
    world = World(comm, 1)
    assert world.sharers == 1
    a, b = ("here", "cuda:0 (A)", "one"), ("here", "cuda:1 (A)", "two")
    world._ranks = [a, b, ("there", "cuda:0 (A)", "one"), a]
    assert world.sharers == 2
    world.close()
