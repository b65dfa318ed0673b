"""The plan of a round: each row once to each rank that needs it, and what every agent sends counted by the formula."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidl.comm.gossip.plan import Link, Plans, make_plan
from mpidl.comm.meters import Meters
from mpidl.comm.placement import Placement
from mpidl.graphs import GRAPHS
from mpidl.graphs.base import Drawn, Mixing
from tests.comm.mixing import LARGE, SMALL, gossip_of, random_matrix, ring_matrix, static, topologies, world_of
from tests.ranks import on_ranks


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.integers(1, 20), st.integers(1, 5), st.floats(0, 1), st.integers(0, 2**32), st.booleans(), st.data())
def test_what_one_rank_sends_is_what_the_other_expects(agents, ranks, density, seed, directed, data):
    mixing = Mixing.from_dense(random_matrix(agents, density, seed, directed))
    owners = data.draw(st.lists(st.integers(0, ranks - 1), min_size=agents, max_size=agents))
    placement = Placement(tuple(owners), ranks)
    plans = [make_plan(mixing, placement, rank) for rank in range(ranks)]
    sent = {(rank, link.rank, link.items) for rank, plan in enumerate(plans) for link in plan.sends}
    expected = {(link.rank, rank, link.items) for rank, plan in enumerate(plans) for link in plan.receives}
    assert sent == expected
    for rank, plan in enumerate(plans):
        for link in plan.receives:
            assert link.rank != rank
            assert len(set(link.items)) == len(link.items)
            needed = {j for i in placement.of_rank(rank) for j in mixing.neighbours[i] if owners[j] == link.rank}
            assert needed == set(link.items)
    assert sum(plan.messages for plan in plans) == mixing.messages


def test_a_row_goes_once_to_a_rank_where_several_agents_need_it():
    placement = Placement((0, 1, 1, 1), 2)
    star = Mixing.from_dense([[0.25] * 4] + [[0.5 * (j == 0) + 0.5 * (i == j) for j in range(4)] for i in range(1, 4)])
    assert make_plan(star, placement, 0).sends == (Link(1, (0,)),)
    assert make_plan(star, placement, 1).sends == (Link(0, (1, 2, 3)),)
    assert make_plan(star, placement, 0).messages == 3


def test_periodic_graphs_are_planned_once_a_phase_and_random_ones_each_round():
    placement = Placement.contiguous(4, 2)
    periodic = Plans(topologies(4)["periodic"], placement, 0)
    assert periodic.recurring
    assert periodic.at(1) is periodic.at(4)
    assert periodic.at(0) is not periodic.at(1)
    drawn = Plans(Drawn(4, lambda t: Mixing.from_dense(ring_matrix(4)), False), placement, 0)
    assert not drawn.recurring


def test_a_graph_that_comes_back_in_other_phases_keeps_its_plan():
    graphs = {"name": "alternating", "graphs": ["ring", "one-peer-exponential", "exponential"]}
    topology = GRAPHS.parse(graphs).build(6, 0)
    plans = Plans(topology, Placement.contiguous(6, 2), 0)
    assert topology.period == 9
    assert len({id(plans.at(t)) for t in range(9)}) == 5
    assert plans.at(0) is plans.at(3) and plans.at(0).mixing.digest == topology.at(6).digest


def meters_after(comm, agents, topology, rounds, sizes=SMALL, owners=None, parameters=300, **chosen) -> Meters:
    meters = Meters()
    world = world_of(comm, agents, owners)
    gossip = gossip_of(world, topology, parameters, sizes=sizes, meters=meters, **chosen)
    exchange = gossip.exchange("parameters")
    Z = exchange.blocks[0]
    for t in range(rounds):
        Z = exchange.mix(Z, t)
    gossip.close()
    return meters


@pytest.mark.parametrize("wire", [None, "bfloat16"])
@on_ranks(1, 2, 4)
def test_bytes_sent_are_the_formula_on_any_placement(comm, wire):
    agents, parameters, rounds = 7, 300, 5
    itemsize = 2 if wire else 4
    for kind in ("irregular", "periodic", "drawn"):
        topology = topologies(agents)[kind]
        expected = sum(topology.at(t).messages for t in range(rounds)) * parameters * itemsize
        for chosen in ({"transport": "messages"}, {"transport": "auto"}, {"sizes": LARGE, "transport": "messages"}):
            meters = meters_after(comm, agents, topology, rounds, wire=wire, **chosen)
            assert sum(comm.allgather(meters.bytes_sent)) == expected


@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["inside letters", "in chunks"])
@on_ranks(4)
def test_with_an_agent_a_rank_the_formula_is_what_mpi_gets(comm, sizes):
    meters = meters_after(comm, 4, static(ring_matrix(4)), 5, sizes, transport="messages")
    assert meters.bytes_sent == meters.bytes_mpi == 5 * 2 * 300 * 4
    chunks = -(-300 // 64)
    assert meters.messages == 5 * 2 * (1 if sizes == SMALL else 1 + chunks)
    assert meters.bytes_shared == 0
    assert meters.seconds["waiting"] > 0
    assert meters.seconds["mixing"] > 0


@on_ranks(4)
def test_shared_rows_are_counted_apart(comm):
    meters = meters_after(comm, 4, static(ring_matrix(4)), 5, transport="shared")
    assert meters.bytes_sent == meters.bytes_shared == 5 * 2 * 300 * 4
    assert meters.bytes_mpi == 0
    assert meters.messages == 5 * 2


@on_ranks(2)
def test_agents_of_one_rank_exchange_by_arithmetic_alone(comm):
    # Two rings of three, one on each rank, dealt out alternately.
    matrix = torch.kron(torch.full((3, 3), 1 / 3, dtype=torch.float64), torch.eye(2, dtype=torch.float64)).numpy()
    meters = meters_after(comm, 6, static(matrix), 3, owners=(0, 1, 0, 1, 0, 1), transport="messages")
    assert (meters.bytes_mpi, meters.messages, meters.bytes_shared) == (0, 0, 0)
    assert meters.bytes_sent == 3 * 6 * 300 * 4
