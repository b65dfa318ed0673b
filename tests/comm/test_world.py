"""Every rank knows who runs which agent, where, and on what device."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import torch

from mpidl.comm.placement import Placement
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


@on_ranks(1, 3)
def test_a_world_takes_any_placement_over_its_ranks(comm):
    placement = Placement((comm.size - 1, 0, comm.size - 1), comm.size)
    world = World(comm, placement)
    assert world.agents == 3
    assert world.mine == placement.of_rank(comm.rank)
    with pytest.raises(ValueError, match=f"{comm.size + 1} ranks is not one over {comm.size}"):
        World(comm, Placement((0,), comm.size + 1))
    world.close()


@on_ranks(1, 2, 3)
def test_numbers_are_summed_and_gathered_and_counted(comm):
    world = World(comm, comm.size)
    large = 2**62 // comm.size
    assert world.sum(np.array([large, comm.rank])).tolist() == [large * comm.size, sum(range(comm.size))]
    held = np.zeros((comm.size, 2))
    held[comm.rank] = 0.1 * (comm.rank + 1), 1e300
    assert world.sum(held).tolist() == [[0.1 * (rank + 1), 1e300] for rank in range(comm.size)]
    with pytest.raises(ValueError, match="float32 is neither"):
        world.sum(np.zeros(1, dtype=np.float32))
    gathered = world.gather_numbers({"seconds": comm.rank / 2, "bytes": 2**53 - comm.rank})
    if comm.rank:
        assert gathered == {}
    else:
        assert gathered["seconds"].tolist() == [rank / 2 for rank in range(comm.size)]
        assert gathered["bytes"].tolist() == [2**53 - rank for rank in range(comm.size)]
    assert world.meters.bytes_mpi == 16 + held.nbytes + 16
    world.barrier()
    world.close()


@on_ranks(1, 3)
@pytest.mark.parametrize("text", ["", "the disk is full – 3 µm", "x" * 100_000])
def test_a_text_of_rank_0_reaches_all(comm, text):
    world = World(comm, comm.size)
    assert world.bcast_text(text if comm.rank == 0 else f"not this of {comm.rank}") == text
    world.close()
