"""Rows that are read whole: of neighbours after mixing, packed ones, and one for each edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpidl.comm.gossip.parcels import Parcels
from mpidl.comm.gossip.sizes import Cargo, Sizes, parcels_bytes
from mpidl.comm.meters import Meters
from mpidl.errors import ConfigError
from mpidl.graphs.base import Drawn, Mixing
from tests.comm.mixing import LARGE, SMALL, gossip_of, random_matrix, rows, topologies, world_of
from tests.ranks import on_ranks

AGENTS, PARAMETERS, ROUNDS = 6, 301, 5
WAYS = {
    "shared memory": ({"transport": "shared"}, SMALL, None),
    "letters": ({"transport": "messages"}, SMALL, None),
    "chunks": ({"transport": "messages"}, LARGE, None),
    "two nodes": ({}, LARGE, [(0, 2), (1,)]),
    "overlap": ({"transport": "messages", "overlap": True}, LARGE, None),
}
every_way = pytest.mark.parametrize("way", WAYS)


def told(sender: int, receiver: int, t: int) -> torch.Tensor:
    """What one agent has for another one in round t."""
    return torch.arange(PARAMETERS, dtype=torch.float32) + 1000 * sender + 10 * receiver + 100_000 * t


def built(comm, way: str, topology, **more):
    chosen, sizes, nodes = WAYS[way]
    world = world_of(comm, AGENTS, {3: (0, 1, 0, 2, 2, 1)}.get(comm.size))
    if nodes and comm.size == 3:
        world.node_ranks = next(ranks for ranks in nodes if comm.rank in ranks)
    return gossip_of(world, topology, PARAMETERS, sizes=sizes, **chosen, **more)


@every_way
@on_ranks(1, 3)
def test_each_neighbour_gets_the_row_that_is_for_it(comm, way):
    for kind in ("irregular", "directed", "periodic", "drawn", "nobody"):
        topology = topologies(AGENTS)[kind]
        for wire in (None, "bfloat16"):
            gossip = built(comm, way, topology, wire=wire)
            if (way, kind) == ("shared memory", "drawn") and comm.size > 1:
                with pytest.raises(ConfigError, match="'shared' is not for rows of edges of a graph"):
                    gossip.edges("relays")
                continue
            edges, mine = gossip.edges("relays"), gossip.neighbourhood.world.mine
            assert gossip.edges("relays") is edges
            for t in range(ROUNDS):
                mixing = topology.at(t)
                leaving = edges.outgoing(t)
                assert set(leaving) == {(i, j) for i in mine for j in mixing.receivers[i]}
                for (i, j), row in leaving.items():
                    row.copy_(told(i, j, t))
                arrived = edges.swap(t)
                assert set(arrived) == {(j, i) for i in mine for j in mixing.neighbours[i]}
                for (j, i), row in arrived.items():
                    sent = told(j, i, t)
                    assert torch.equal(row, sent.to(torch.bfloat16).float() if wire else sent)
            gossip.close()


@every_way
@on_ranks(1, 3)
def test_packed_rows_reach_all_neighbours_of_their_agent(comm, way):
    length = 997
    for kind in ("irregular", "directed", "periodic", "drawn"):
        topology = topologies(AGENTS)[kind]
        gossip = built(comm, way, topology)
        parcels, mine = gossip.carrier("packed", Cargo(length, torch.uint8, "noise", whole=True)), gossip.state.agents
        for t in range(ROUNDS):
            for agent, row in parcels.outgoing(t).items():
                row.copy_(noise(length, agent, t))
            parcels.start(t)
            arrived = parcels.finish()
            assert set(arrived) == {j for i in mine for j in topology.at(t).neighbours[i]}
            assert all(torch.equal(row, noise(length, j, t)) for j, row in arrived.items())
        gossip.close()


def noise(length: int, agent: int, t: int) -> torch.Tensor:
    random = np.random.default_rng([agent, t])
    return torch.from_numpy(random.integers(0, 256, length, dtype=np.uint8))


@every_way
@on_ranks(1, 3)
def test_neighbours_rows_can_be_read_after_mixing_until_the_next(comm, way):
    start = rows(AGENTS, PARAMETERS, torch.float32)
    for kind in ("irregular", "periodic", "drawn"):
        topology = topologies(AGENTS)[kind]
        for wire in (None, "bfloat16"):
            gossip = built(comm, way, topology, wire=wire)
            exchange, mine = gossip.exchange("parameters", readable=True), list(gossip.state.agents)
            plain = gossip.exchange("twin")
            X, Y = exchange.present.copy_(start[mine]), plain.present.copy_(start[mine])
            before = start
            for t in range(ROUNDS):
                X, Y = exchange.mix(X, t), plain.mix(Y, t)
                assert torch.equal(X, Y)
                # What was mixed may be written, as an algorithm does that reads its neighbours meanwhile.
                X.add_(1.0)
                Y.add_(1.0)
                seen = before.to(torch.bfloat16).float() if wire else before
                for i in mine:
                    neighbours = exchange.neighbours(i)
                    assert tuple(neighbours) == topology.at(t).neighbours[i]
                    assert len(neighbours) == len(topology.at(t).neighbours[i])
                    assert all(torch.equal(row, seen[j]) for j, row in neighbours.items())
                before = everyones(comm, mine, X)
            with pytest.raises(ValueError, match="not made for reading"):
                plain.neighbours(mine[0])
            gossip.close()


def everyones(comm, mine: list[int], block: torch.Tensor) -> torch.Tensor:
    whole = torch.empty(AGENTS, PARAMETERS)
    for agents, part in comm.allgather((mine, block.clone().numpy())):
        whole[agents] = torch.from_numpy(part)
    return whole


@on_ranks(3)
def test_bytes_of_edges_are_the_formula_and_what_mpi_gets(comm):
    topology, meters = topologies(3)["complete"], Meters()
    gossip = gossip_of(world_of(comm, 3), topology, PARAMETERS, sizes=LARGE, meters=meters, transport="messages")
    edges = gossip.edges("relays")
    for t in range(ROUNDS):
        for row in edges.outgoing(t).values():
            row.zero_()
        edges.swap(t)
    assert meters.bytes_sent == meters.bytes_mpi == ROUNDS * 2 * PARAMETERS * 4
    gossip.close()


@pytest.mark.parametrize("per_edge", [False, True])
@pytest.mark.parametrize("way", ["shared memory", "letters", "chunks"])
@on_ranks(1, 3)
def test_parcels_take_the_memory_that_the_formula_says(comm, way, per_edge):
    chosen, sizes, _ = WAYS[way]
    world, topology = world_of(comm, AGENTS), topologies(AGENTS)["irregular"]
    gossip = gossip_of(world, topology, PARAMETERS, sizes=sizes, **chosen)
    cargo = Cargo(5003, torch.uint8, "noise", whole=True)
    parcels: Parcels = gossip.edge_carrier("packed", cargo) if per_edge else gossip.carrier("packed", cargo)
    for t in range(2):
        parcels.outgoing(t)
        parcels.start(t)
        parcels.finish()
    plan = (gossip.neighbourhood.edge_plans if per_edge else gossip.neighbourhood.plans).at(0)
    others = frozenset(world.node_ranks) - {comm.rank}
    shared = others if way == "shared memory" else frozenset()
    leaving = plan.messages if per_edge else len(world.mine)
    formula = parcels_bytes([plan], leaving, cargo, sizes, sharing=shared, near=others)
    assert formula <= parcels.memory <= formula + 64 * 2 * comm.size
    gossip.close()


@on_ranks(1)
def test_edges_of_a_drawn_graph_may_become_more(comm):
    def at(t: int) -> Mixing:
        return Mixing.from_dense(random_matrix(AGENTS, min(1.0, 0.2 * t), t))

    gossip = gossip_of(world_of(comm, AGENTS), Drawn(AGENTS, at, False), PARAMETERS, sizes=Sizes())
    edges = gossip.edges("relays")
    for t in range(6):
        for (i, j), row in edges.outgoing(t).items():
            row.copy_(told(i, j, t))
        assert all(torch.equal(row, told(j, i, t)) for (j, i), row in edges.swap(t).items())
    gossip.close()
