"""What mixing computes: the dense product, the mean kept, the same bits wherever agents run and however rows travel."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from mpidl.comm.gossip.pace import Pace
from mpidl.comm.gossip.sizes import Cargo, Sizes, exchange_bytes
from mpidl.graphs import GRAPHS
from mpidl.graphs.base import Drawn, Mixing, Periodic
from tests.comm.mixing import (
    LARGE,
    SMALL,
    dense,
    gossip_of,
    mixed,
    random_matrix,
    ring_matrix,
    rows,
    static,
    topologies,
    world_of,
)
from tests.ranks import on_ranks, parts

KINDS = sorted(topologies(2))


@pytest.mark.parametrize("kind", KINDS)
@on_ranks(1, 2, 3, 4)
def test_mixing_equals_the_dense_product_and_keeps_the_mean(comm, kind):
    for agents in (4, 7):
        topology, start = topologies(agents)[kind], rows(agents, 333)
        for way in (
            {"transport": "messages"},
            {"transport": "shared"},
            {"transport": "messages", "sizes": LARGE},
        ):
            found = mixed(world_of(comm, agents), topology, start, 6, **way)
            assert torch.allclose(found, dense(topology, start, 6), rtol=0, atol=1e-13)
            if kind != "directed":
                assert torch.allclose(found.mean(0), start.mean(0), rtol=0, atol=1e-14)


@on_ranks(1, 2, 3, 4)
def test_random_graphs_of_up_to_forty_agents_equal_the_dense_product(comm):
    # Not by hypothesis, whose draws depend on the modules that a process has loaded: ranks must draw the same.
    for seed in range(25):
        draw = np.random.default_rng(seed)
        agents, density, gamma = int(draw.integers(comm.size, 41)), draw.random(), draw.uniform(0.1, 1)
        directed, drawn = draw.random(2) < 0.5
        transport, parameters = draw.choice(["messages", "shared"]), int(draw.choice([1, 63, 200]))

        def at(t: int, agents=agents, density=density, seed=seed, directed=directed) -> Mixing:
            return Mixing.from_dense(random_matrix(agents, density, 100 * seed + t, directed))

        topology = Drawn(agents, at, bool(directed)) if drawn else static(at(0).dense())
        start = rows(agents, parameters)
        way = {"transport": str(transport), "scheme": {"name": "exact", "gamma": gamma}}
        found = mixed(world_of(comm, agents), topology, start, 3, sizes=LARGE if seed % 2 else SMALL, **way)
        expected = dense(topology, start, 3, gamma)
        assert torch.allclose(found, expected, rtol=0, atol=1e-13), (seed, agents, density, directed, drawn, way)


WIRES = [(torch.float32, None), (torch.float64, None), (torch.float64, "float32"), (torch.float32, "bfloat16")]


PLACEMENTS = [
    (1, None),
    (2, (0, 1, 0, 1, 1, 1, 0, 1, 1, 0, 0)),
    (3, None),
    (4, None),
    (4, (3, 0, 0, 1, 2, 0, 3, 1, 1, 2, 2)),
]
WAYS = [
    {"transport": "shared"},
    {"transport": "messages"},
    {"transport": "messages", "sizes": LARGE},
    {"transport": "shared", "sizes": LARGE},
    # Small rows of several agents at once, in more than one chunk.
    {"transport": "messages", "sizes": Sizes(chunk=640)},
]


@pytest.mark.parametrize("wire", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["ring", "irregular", "directed", "periodic", "drawn"])
@on_ranks(4)
def test_bits_depend_neither_on_placement_nor_on_transport_nor_on_chunks(comm, wire, kind):
    dtype, narrow = WIRES[wire]
    agents = 11
    topology, start = topologies(agents)[kind], rows(agents, 333, dtype)
    found = []
    for ranks, owners in PLACEMENTS:
        for part in parts(comm, (ranks,)):
            found += [mixed(world_of(part, agents, owners), topology, start, 4, wire=narrow, **way) for way in WAYS]
    if comm.rank == 0:
        assert len(found) == len(PLACEMENTS) * len(WAYS)
        assert all(torch.equal(other, found[0]) for other in found)
        assert not torch.equal(found[0], start)


@on_ranks(4)
def test_bits_stay_and_memory_is_bounded_while_more_and_more_chunks_are_under_way(comm):
    agents, turns = 8, 8
    sizes = Sizes(chunk=64, inside=0, ahead=8, far=2, farthest=7)
    for kind, wire in (("ring", None), ("periodic", None), ("drawn", None), ("irregular", "float32")):
        topology, start = topologies(agents)[kind], rows(agents, 1000)
        expected = mixed(world_of(comm, agents), topology, start, turns, wire=wire, transport="shared")
        world = world_of(comm, agents)
        world.node_ranks = (comm.rank,)
        gossip = gossip_of(world, topology, 1000, start.dtype, sizes, wire=wire, transport="messages")
        exchange, mine = gossip.exchange("parameters"), list(world.mine)
        exchange._turns._routes._pace = pace = Longer(2, 7, rank=comm.rank)
        block, memory = exchange.blocks[0].copy_(start[mine]), []
        for t in range(turns):
            block = exchange.mix(block, t)
            memory.append(exchange.memory)
        assert torch.equal(block, expected[mine])
        plans = [gossip.neighbourhood.plans.at(t) for t in range(turns)]
        cargo = Cargo(1000, getattr(torch, wire or "float64"))
        most = max(exchange_bytes([plan], len(mine), start.dtype, cargo, sizes, blocks=2) for plan in plans)
        headers = sum(64 * (len(plan.sends) + len(plan.receives)) for plan in plans)
        assert max(memory) <= most + headers
        assert pace.ring == 7 and (memory[-1] > memory[0] or kind == "drawn")
        gossip.close()


class Longer(Pace):
    """Of a link on which more always pay, one chunk at a time; each rank finds out by itself, some sooner."""

    def __init__(self, least: int, most: int, rank: int) -> None:
        super().__init__(least, most)
        self._step = 1 + rank % 2

    def see(self, seconds: float) -> bool:
        self.ring = min(self.ring + self._step, self._most)
        self.settled = self.ring == self._most
        return True


@on_ranks(1, 2, 3, 4)
def test_many_small_rows_are_each_summed_as_if_alone(comm):
    """The sum of one agent, number by number: own row first, then neighbours by ascending number."""
    agents = 16
    for graph in ("hypercube", "exponential", "torus"):
        mixing, start = GRAPHS.parse(graph).build(agents, 0).at(0), rows(agents, 101)
        found = mixed(world_of(comm, agents), Periodic([mixing]), start, 1)
        for i in range(agents):
            expected = start[i] * (1 + (mixing.self_weights[i] - 1))
            for j, weight in zip(mixing.neighbours[i], mixing.weights[i], strict=True):
                expected.addcmul_(start[j], torch.tensor(weight, dtype=start.dtype))
            assert torch.equal(found[i], expected)


@pytest.mark.parametrize("wire", ["bfloat16", "float16"])
@on_ranks(2)
def test_a_lossy_wire_keeps_the_mean(comm, wire):
    agents = 6
    start = rows(agents, 500, torch.float32)
    topology = topologies(agents)["irregular"]
    found = mixed(world_of(comm, agents), topology, start, 10, wire=wire)
    assert torch.allclose(found.double().mean(0), start.double().mean(0), rtol=0, atol=1e-6)
    # It is lossy, or nothing was tested: one round differs from the exact one by about the wire's rounding.
    once = mixed(world_of(comm, agents), topology, start, 1, wire=wire)
    error = (once - dense(topology, start, 1)).abs().max()
    assert 1e-5 < error < 2e-2


@on_ranks(2)
def test_a_wire_is_never_wider_than_the_rows(comm):
    start = rows(4, 100, torch.float32)
    plain, wide = (mixed(world_of(comm, 4), static(ring_matrix(4)), start, 3, wire=wire) for wire in (None, "float32"))
    assert torch.equal(plain, wide)


@on_ranks(3)
def test_exchanges_of_several_quantities_do_not_meet(comm):
    topology = topologies(6)["irregular"]
    world = world_of(comm, 6)
    for transport in ("messages", "shared"):
        gossip = gossip_of(world, topology, 200, torch.float64, LARGE, transport=transport)
        first, second = gossip.exchange("parameters"), gossip.exchange("tracker")
        assert gossip.exchange("parameters") is first
        start = rows(6, 200)
        X, Y = first.blocks[0].copy_(start[list(world.mine)]), second.blocks[0].copy_(-2 * start[list(world.mine)])
        for t in range(4):
            first.start(X, t)
            second.start(Y, t)
            Y, X = second.finish(), first.finish()
        expected = dense(topology, start, 4)[list(world.mine)]
        assert torch.allclose(X, expected, rtol=0, atol=1e-13)
        assert torch.allclose(Y, -2 * expected, rtol=0, atol=1e-13)
        gossip.close()


@on_ranks(1, 2)
def test_a_block_that_neighbours_may_be_reading_is_refused(comm):
    gossip = gossip_of(world_of(comm, 2), static(ring_matrix(2)), 10)
    exchange = gossip.exchange("parameters")
    exchange.mix(exchange.blocks[0], 0)
    with pytest.raises(ValueError, match="mix the one returned last"):
        exchange.mix(exchange.blocks[0], 1)
    with pytest.raises(ValueError, match="one of its two blocks"):
        exchange.mix(torch.zeros(1, 10), 1)
    with pytest.raises(ValueError, match="without start"):
        exchange.finish()
    gossip.close()


@pytest.mark.parametrize("way", [{"transport": "shared"}, {"transport": "messages"}, {"sizes": LARGE}])
@on_ranks(1, 2, 3)
def test_with_a_third_block_what_was_there_before_mixing_can_still_be_read_after_it(comm, way):
    agents, start = 6, rows(6, 200)
    topology = topologies(agents)["periodic"]
    world = world_of(comm, agents)
    chosen = dict(way)
    sizes = chosen.pop("sizes", SMALL)
    gossip = gossip_of(world, topology, 200, torch.float64, sizes, **chosen)
    exchange = gossip.exchange("parameters", blocks=3)
    mine = list(world.mine)
    exchange.present.copy_(start[mine])
    expected = start.clone()
    for t in range(9):
        if t % 3 == 2:
            # In place, as with two blocks.
            exchange.mix(exchange.present.mul_(0.5), t)
            expected = dense(topology_at(topology, t), 0.5 * expected, 1)
            assert torch.allclose(exchange.present, expected[mine], rtol=0, atol=1e-12)
            continue
        x = exchange.present
        torch.sub(2 * x, 1.0, out=exchange.draft)
        z = exchange.draft
        mixed_rows = exchange.mix(z, t)
        assert mixed_rows is exchange.present and x is exchange.draft
        assert torch.allclose(x, expected[mine], rtol=0, atol=1e-12)
        expected = dense(topology_at(topology, t), 2 * expected - 1.0, 1)
        assert torch.allclose(mixed_rows, expected[mine], rtol=0, atol=1e-12)
        with pytest.raises(ValueError, match="mix the one returned last or the draft"):
            exchange.start(z, t + 1)
    with pytest.raises(ValueError, match="was made with blocks=3, readable=False already"):
        gossip.exchange("parameters")
    with pytest.raises(ValueError, match="two or three"):
        gossip.exchange("tracker", blocks=4)
    gossip.close()


def topology_at(topology, t: int):
    """The graph of round t alone."""
    return static(topology.at(t).dense())


@on_ranks(2)
def test_a_rank_ends_the_threads_of_its_exchanges_without_the_others(comm):
    before = set(threading.enumerate())
    gossip = gossip_of(world_of(comm, 6), static(ring_matrix(6)), 333, sizes=LARGE, transport="messages", overlap=True)
    exchange = gossip.exchange("parameters")
    exchange.mix(exchange.present, 0)
    threads = set(threading.enumerate()) - before
    assert threads
    gossip.abandon()
    assert not any(thread.is_alive() for thread in threads)
    gossip.close()


@on_ranks(1)
def test_two_blocks_have_no_draft(comm):
    gossip = gossip_of(world_of(comm, 2), static(ring_matrix(2)), 10)
    with pytest.raises(ValueError, match="only an exchange with three blocks has a draft"):
        gossip.exchange("parameters").draft  # noqa: B018
    gossip.close()
