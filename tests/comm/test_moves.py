"""Rows arrive where they are wanted as they were, in pieces that MPI can count."""

from __future__ import annotations

import os

import pytest
import torch

from mpidl.comm import moves
from mpidl.comm.meters import Meters
from mpidl.comm.moves import gather_rows, move_items, rows_in_turn
from mpidl.comm.placement import Placement
from mpidl.comm.world import World
from mpidl.errors import CommunicationError
from mpidl.rows import new_rows
from tests.ranks import on_ranks


def row(agent: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.full(shape, agent + 1, dtype=dtype)


@on_ranks(1, 2, 4)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_rows_of_all_agents_reach_rank_0_in_their_order(comm, dtype):
    world = World(comm, Placement(tuple((agent * agent) % comm.size for agent in range(7)), comm.size))
    # A length whose rows do not lie one behind the other.
    block = new_rows((len(world.mine), 5), dtype, "cpu")
    for place, agent in enumerate(world.mine):
        block[place] = row(agent, (5,), dtype)
    # And what they keep beside them, perhaps nothing.
    counters, nothing = torch.tensor(world.mine)[:, None], new_rows((len(world.mine), 0), dtype, "cpu")
    arrived = [[each.clone() for each in rows] for rows in rows_in_turn(world, [block, counters, nothing])]
    if comm.rank:
        assert not arrived
        assert world.meters.bytes_mpi == len(world.mine) * (5 * dtype.itemsize + 8)
    else:
        assert world.meters.bytes_mpi == 0 and len(arrived) == 7
        for agent, (numbers, counter, empty) in enumerate(arrived):
            assert torch.equal(numbers, row(agent, (5,), dtype)) and counter.tolist() == [agent] and not len(empty)
    with pytest.raises(ValueError, match="rows are not the"):
        list(rows_in_turn(world, [block[:0] if len(world.mine) else new_rows((1, 5), dtype, "cpu")]))
    world.close()


@on_ranks(2)
def test_rows_wait_where_they_are_until_rank_0_asks_for_them(comm):
    world = World(comm, Placement((0, 1, 1), 2))
    rows = rows_in_turn(world, [torch.zeros(len(world.mine), 1)])
    if comm.rank:
        list(rows)
        comm.send("left", 0, tag=1)
    else:
        next(rows)
        for _ in range(1000):
            assert not comm.Iprobe(1, tag=1), "rows have left that rank 0 has no room for yet"
            os.sched_yield()
        assert len(list(rows)) == 2
        assert comm.recv(source=1, tag=1) == "left"
    world.close()


@on_ranks(1, 2, 3)
def test_rows_of_some_agents_are_gathered_from_whoever_holds_them(comm):
    world = World(comm, comm.size)
    owners = [position % comm.size for position in range(5)]
    held = [position for position in range(5) if owners[position] == comm.rank]
    whole = gather_rows(world, torch.tensor(held, dtype=torch.float32)[:, None], owners)
    assert (whole is None) == bool(comm.rank)
    assert comm.rank or whole.ravel().tolist() == [0, 1, 2, 3, 4]
    world.close()


@on_ranks(1, 2, 3)
@pytest.mark.parametrize("shape", [(), (7,), (2, 3)])
@pytest.mark.parametrize("longest", [2**30, 8])
def test_items_arrive_as_they_left(comm, shape, longest):
    world, meters = World(comm, comm.size), Meters()
    planned = [(("item", n), n % comm.size, (n * n + n // 2) % comm.size) for n in range(9)]
    outgoing = {item: row(item[1], shape, torch.float64) for item, source, _ in planned if source == comm.rank}
    kept, moves.LONGEST = moves.LONGEST, longest
    try:
        arrived = move_items(world, planned, outgoing, shape, torch.float64, meters)
    finally:
        moves.LONGEST = kept
    assert list(arrived) == [item for item, _, target in planned if target == comm.rank]
    for item, tensor in arrived.items():
        assert torch.equal(tensor, row(item[1], shape, torch.float64))
        assert (tensor is outgoing.get(item)) == (item in outgoing)
    leaving = [item for item, source, target in planned if source == comm.rank != target]
    size = 8 * torch.Size(shape).numel()
    assert meters.bytes_mpi == len(leaving) * size
    assert meters.messages == len(leaving) * -(-size // longest)
    assert world.meters.bytes_mpi == 0
    world.close()


@on_ranks(2)
def test_a_wrong_item_is_an_error_before_anything_is_sent(comm):
    world = World(comm, 2)
    planned = [("a", 0, 1), ("b", 1, 0)]
    with pytest.raises(CommunicationError, match=r"is \(3,\) torch.float32, where \(2,\) torch.float32 is expected"):
        move_items(world, planned, {"a": torch.zeros(3), "b": torch.zeros(3)}, (2,), torch.float32)
    with pytest.raises(CommunicationError, match="moved to rank . twice"):
        twice = [("a", 1 - comm.rank, comm.rank)] * 2
        move_items(world, twice, {}, (2,), torch.float32)
    assert world.meters.messages == 0
    world.close()
