"""Sums over agents are the same bits on any number of ranks and any placement."""

from __future__ import annotations

import functools
import logging
import weakref
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from mpidl import seeding
from mpidl.comm import combine, moves, sharing
from mpidl.comm import reduce as module
from mpidl.comm.meters import Meters
from mpidl.comm.reduce import Reducer
from mpidl.comm.tree import cut, rows_held, tree_sum
from mpidl.comm.world import World
from mpidl.errors import CommunicationError
from tests.ranks import logged, on_ranks

SMALL_ROW, LARGE_ROW = 5, 20_001


@functools.cache
def rows(positions: int, parameters: int, dtype: torch.dtype) -> torch.Tensor:
    """Rows over many magnitudes, so that another order of additions gives other bits."""
    draw = seeding.stream(1, "rows", positions)
    values = draw.standard_normal((positions, parameters)) * 10.0 ** draw.integers(-3, 4, (positions, parameters))
    return torch.from_numpy(values).to(dtype)


def owners(kind: str, positions: int, ranks: int) -> list[int]:
    return {
        "contiguous": [p * ranks // positions for p in range(positions)],
        "round robin": [p % ranks for p in range(positions)],
        "adopted": [(p * ranks // positions) if p % 3 else (p * p) % ranks for p in range(positions)],
        "last rank only": [ranks - 1] * positions,
    }[kind]


def without_shared_memory(here: bool):
    """Inside, a rank of which this holds has no folder for it."""
    return mock.patch.object(sharing, "FOLDER", Path("/nowhere") if here else sharing.FOLDER)


def reduce(comm, table, owner_of, in_place=False, **settings):
    """The reducer's sum, fed from one buffer that is overwritten for each row; `in_place`: from the reducer's own."""
    world = World(comm, comm.size)
    reducer = Reducer(world, table.shape[1], table.dtype, **settings)
    buffer = reducer.memory() if in_place else torch.empty(table.shape[1], dtype=table.dtype)

    def leaves():
        for position, owner in enumerate(owner_of):
            if owner == comm.rank:
                yield position, buffer.copy_(table[position])
        buffer.fill_(float("nan"))

    results = [reducer.sum(leaves(), len(owner_of), owner_of) for _ in range(2)]
    assert torch.equal(*results), "the second sum, in the buffers of the first, differs"
    assert len(reducer._spare) <= rows_held(owner_of, comm.size), "more rows wait than are counted"
    world.close()
    return results[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_tree_is_the_written_one(dtype):
    table = rows(7, 3, dtype)
    a, b, c, d, e, f, g = table
    assert torch.equal(reference(table), ((a + b) + (c + d)) + ((e + f) + g))
    if dtype != torch.bfloat16:
        assert np.array_equal(tree_sum(table.numpy()), reference(table).numpy())


def reference(table: torch.Tensor) -> torch.Tensor:
    """The fixed tree by its definition: left half plus right half, split at the largest power of two below n."""
    if len(table) == 1:
        return table[0]
    left = 2 ** ((len(table) - 1).bit_length() - 1)
    return reference(table[:left]) + reference(table[left:])


@on_ranks(1, 2, 3, 4)
@pytest.mark.parametrize("kind", ["contiguous", "round robin", "adopted", "last rank only"])
@pytest.mark.parametrize("parameters", [SMALL_ROW, LARGE_ROW])
def test_bits_do_not_depend_on_ranks_or_placement_or_on_the_way_that_rows_travel(comm, parameters, kind):
    for positions in [1, 2, 3, 5, 7, 8, 16, 23, 40]:
        table = rows(positions, parameters, torch.float32)
        for shared, in_place in ((True, False), (True, True), (False, False)):
            found = reduce(comm, table, owners(kind, positions, comm.size), in_place, shared=shared)
            assert torch.equal(found, reference(table)), (positions, shared, in_place)


@on_ranks(4)
def test_sums_one_after_another_do_not_meet_in_shared_memory(comm):
    """Ranks that wait at random; sums of two dtypes and of more rows each time than there is memory for, or fewer."""
    import random
    import time

    delay = random.Random(comm.rank)
    world = World(comm, comm.size)
    reducers = {dtype: Reducer(world, LARGE_ROW, dtype) for dtype in (torch.float32, torch.float64)}
    own = {dtype: reducer.memory() for dtype, reducer in reducers.items()}
    for turn in range(40):
        positions, dtype = 1 + (7 * turn) % 30, (torch.float32, torch.float64)[turn % 2]
        table = rows(positions, LARGE_ROW, dtype) * (turn + 1)
        owner_of = owners("round robin", positions, comm.size)
        here = [position for position, owner in enumerate(owner_of) if owner == comm.rank]
        mine = ((position, own[dtype].copy_(table[position]) if turn % 3 else table[position]) for position in here)
        time.sleep(delay.random() * 2e-3)
        assert torch.equal(reducers[dtype].sum(mine, positions, owner_of), reference(table)), turn
    world.close()


@on_ranks(3)
def test_shared_memory_of_fewer_rows_is_free_before_that_of_more_is_taken(comm):
    combiner = combine.Combiner(World(comm, comm.size), LARGE_ROW, torch.float32, shared=True)
    take, freed = combine.Board.rows, []

    def watched(*arguments):
        freed.append(earlier() is None)
        return take(*arguments)

    earlier = weakref.ref(combiner.places(cut(owners("round robin", 6, comm.size), comm.size)))
    with mock.patch.object(combine.Board, "rows", watched):
        combiner.places(cut(owners("round robin", 40, comm.size), comm.size))
    assert freed
    assert all(freed)


@on_ranks(3)
def test_without_shared_memory_on_one_rank_all_send_messages_and_say_why(comm):
    with without_shared_memory(comm.rank == 1):
        reducer = Reducer(World(comm, comm.size), LARGE_ROW, torch.float32)
        assert reducer.transport == "messages"
        assert "not through shared memory: rank 1: /nowhere cannot be used" in reducer.warning
        found = reducer.sum([(comm.rank, torch.ones(LARGE_ROW))], comm.size, range(comm.size))
        assert torch.equal(found, torch.full((LARGE_ROW,), 3.0))


@on_ranks(3)
def test_where_shared_memory_runs_out_later_messages_go_on_and_one_rank_says_so(comm):
    reducer = Reducer(World(comm, comm.size), LARGE_ROW, torch.float32)
    own, table = reducer.memory(), rows(40, LARGE_ROW, torch.float32)
    assert reducer.transport == "shared memory"
    with without_shared_memory(comm.rank == 1), logged() as said:
        for positions in (3, 40, 3):
            owner_of = owners("round robin", positions, comm.size)
            mine = ((p, own.copy_(table[p])) for p in range(positions) if owner_of[p] == comm.rank)
            assert torch.equal(reducer.sum(mine, positions, owner_of), reference(table[:positions]))
    why = "sums go by messages, not through shared memory: rank 1: /nowhere cannot be used: No such file or directory"
    assert said == ([(logging.WARNING, why)] if comm.rank == 0 else [])
    assert reducer.transport == "messages"


@on_ranks(1, 2, 4)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_are_summed_in_their_own_precision(comm, dtype):
    table = rows(7, LARGE_ROW, dtype)
    assert torch.equal(reduce(comm, table, owners("contiguous", 7, comm.size)), reference(table))


@on_ranks(3)
def test_a_row_shorter_than_the_number_of_ranks_is_summed(comm):
    with mock.patch.object(combine, "SMALL", 0):
        table = rows(5, 2, torch.float64)
        assert torch.equal(reduce(comm, table, owners("round robin", 5, comm.size)), reference(table))


@on_ranks(2)
def test_messages_longer_than_the_limit_go_in_pieces(comm):
    table = rows(3, LARGE_ROW, torch.float32)
    with mock.patch.object(moves, "LONGEST", 1000):
        assert torch.equal(reduce(comm, table, owners("contiguous", 3, comm.size)), reference(table))
    with mock.patch.object(module, "LONGEST_SUM", 1000):
        found = reduce(comm, table, owners("contiguous", 3, comm.size), deterministic=False)
    assert torch.allclose(found, table.sum(0), rtol=1e-4, atol=1e-3)


@on_ranks(1, 3)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_library_sum_is_right_to_rounding(comm, dtype):
    table = rows(7, 1000, dtype)
    found = reduce(comm, table, owners("contiguous", 7, comm.size), deterministic=False)
    tolerance = {torch.bfloat16: 0.1, torch.float32: 1e-6, torch.float64: 1e-15}[dtype]
    # Relative to what is added up, since much of it may cancel.
    assert bool(((found.double() - table.double().sum(0)).abs() <= 7 * tolerance * table.double().abs().sum(0)).all())


@on_ranks(1, 2)
def test_nothing_sums_to_zero(comm):
    world = World(comm, comm.size)
    assert Reducer(world, 3, torch.float32).sum([], 0, []).tolist() == [0.0, 0.0, 0.0]


@on_ranks(2, 4)
def test_the_result_lands_in_the_given_memory(comm):
    world = World(comm, comm.size)
    out = torch.full((LARGE_ROW,), float("nan"))
    row = torch.full((LARGE_ROW,), float(comm.rank + 1))
    found = Reducer(world, LARGE_ROW, torch.float32).sum([(comm.rank, row)], comm.size, range(comm.size), out)
    assert found is out
    assert torch.equal(out, torch.full_like(out, comm.size * (comm.size + 1) / 2))
    assert torch.equal(row, torch.full_like(row, comm.rank + 1)), "the caller's row was changed"


@on_ranks(1, 2)
def test_a_wrong_row_is_an_error_before_anything_is_sent(comm):
    reducer = Reducer(World(comm, comm.size), 2, torch.float32)
    everyone = list(range(comm.size))
    with pytest.raises(CommunicationError, match="where"):
        reducer.sum([(comm.rank + 7, torch.zeros(2))], comm.size, everyone)
    with pytest.raises(CommunicationError, match="where"):
        reducer.sum([], comm.size, everyone)
    for row in (torch.zeros(2, dtype=torch.float64), torch.zeros(3), torch.zeros(1, 2)):
        with pytest.raises(CommunicationError, match="is due"):
            reducer.sum([(comm.rank, row)], comm.size, everyone)
    with pytest.raises(CommunicationError, match="more rows"):
        reducer.sum([(comm.rank, torch.zeros(2)), (9, torch.zeros(2))], comm.size, everyone)


@on_ranks(1, 2, 4)
def test_bytes_handed_to_mpi_are_counted(comm):
    world = World(comm, comm.size)
    # All ranks together send or read every slice but the own one of every partial row, and every slice of the result
    # but one; two read each other's rows, which is as much.
    slices = 2 * (comm.size - 1) * 4 * LARGE_ROW
    for shared in (False, True):
        meters = Meters()
        reducer = Reducer(world, LARGE_ROW, torch.float32, meters=meters, shared=shared)
        reducer.sum([(comm.rank, torch.ones(LARGE_ROW))], comm.size, range(comm.size))
        assert comm.allreduce(meters.bytes_mpi) == (0 if shared else slices)
        assert comm.allreduce(meters.bytes_shared) == (slices if shared else 0)
        assert meters.seconds["reduction"] > 0


@on_ranks(1, 2, 3, 4)
def test_values_are_gathered_in_the_order_of_agents(comm):
    world = World(comm, 7)
    values = np.array([[agent, agent / 3] for agent in world.mine])
    found = Reducer(world, 1, torch.float32).gather(values)
    assert np.array_equal(found, [[agent, agent / 3] for agent in range(7)])
    with pytest.raises(ValueError, match="agents"):
        Reducer(world, 1, torch.float32).gather(values[:-1])


@on_ranks(1, 2, 3)
def test_values_of_some_agents_are_gathered_wherever_they_are_held(comm):
    world = World(comm, 7)
    reducer = Reducer(world, 1, torch.float32)
    agents = [1, 2, 5, 6]
    found = reducer.gather(np.array([[agent] for agent in agents if agent in world.mine]).reshape(-1, 1), agents)
    assert found.ravel().tolist() == agents
    elsewhere = [(agent * agent + 1) % comm.size for agent in agents]
    held = [[agent, -agent] for agent, owner in zip(agents, elsewhere, strict=True) if owner == comm.rank]
    found = reducer.gather(np.array(held).reshape(-1, 2), agents, elsewhere)
    assert found.tolist() == [[agent, -agent] for agent in agents]
    assert world.meters.bytes_mpi == 8 * agents_held(world, agents) + 16 * len(held)


def agents_held(world, agents):
    return len(set(world.mine) & set(agents))
