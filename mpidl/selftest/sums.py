"""Areas of arithmetic between ranks: sums over agents, and mixing over a graph."""

from __future__ import annotations

import numpy as np
import torch

from mpidl.comm.gossip.gossip import Gossip
from mpidl.comm.gossip.neighbourhood import Neighbourhood
from mpidl.comm.gossip.settings import GossipSettings
from mpidl.comm.meters import Meters
from mpidl.comm.reduce import Reducer
from mpidl.comm.tree import tree_sum
from mpidl.comm.world import World
from mpidl.graphs import GRAPHS
from mpidl.layout import Layout
from mpidl.seeding import stream
from mpidl.selftest.area import Fault, Site
from mpidl.state import State

# Of a row: one that every rank adds up by itself, and one of which each adds up a part.
LENGTHS = (7, 300_000)
_GRAPHS = ("ring", "complete", "one-peer-exponential")
_PARAMETERS, _ROUNDS = 1000, 3
# Of numbers of size 1, some dozens of which are added in another order.
_TOLERANCE = 1e-12


def reduction(site: Site) -> str:
    """Sums over agents are the same bits whichever rank holds which agent, by shared memory and by messages."""
    world = site.world
    agents, placements = world.agents, _placements(world)
    wrong = ""
    for length in LENGTHS:
        rows = stream(0, "selftest", length).standard_normal((agents, length), dtype=np.float32)
        expected = tree_sum(rows)
        for shared in (True, False):
            reducer = Reducer(world, length, torch.float32, shared=shared)
            for name, owners in placements.items():
                mine = ((p, torch.from_numpy(rows[p])) for p in range(agents) if owners[p] == world.rank)
                found = reducer.sum(mine, agents, owners).numpy()
                differ = int((found.view(np.int32) != expected.view(np.int32)).sum())
                if differ and not wrong:
                    wrong = (
                        f"{differ:,} of {length:,} numbers of a sum over {agents} agents, held {name}, have other bits "
                        f"(by {reducer.transport})"
                    )
    if wrong:
        raise Fault(wrong, "runs on this machine depend on the number of ranks: report it, with what mpidl env says")
    return f"{agents} agents held in {len(placements)} ways: the same bits"


def _placements(world: World) -> dict[str, list[int]]:
    agents, size = range(world.agents), world.size
    return {
        "in order": list(world.placement.owners),
        "by turns": [agent % size for agent in agents],
        "by one rank": [size - 1 for _ in agents],
    }


def graph(site: Site) -> str:
    """A round of gossip is the product with the mixing matrix, and keeps the mean of agents."""
    world, wrong = site.world, list[str]()
    for name in _GRAPHS:
        topology = GRAPHS.parse(name).build(world.agents, seed=0)
        for settings in (GossipSettings(transport="auto"), GossipSettings(transport="messages")):
            state = State(world.mine, world.agents, _PARAMETERS, torch.float64, world.device)
            neighbourhood = Neighbourhood(world, topology, settings, Meters())
            gossip = Gossip(neighbourhood, state, Layout(("row",), ((_PARAMETERS,),)), seed=0)
            exchange = gossip.exchange("parameters")
            expected = stream(1, "selftest").standard_normal((world.agents, _PARAMETERS))
            mean = expected.mean(0)
            block = exchange.present
            block.copy_(torch.from_numpy(expected[list(world.mine)]))
            for t in range(_ROUNDS):
                block = exchange.mix(block, t)
                expected = topology.at(t).dense() @ expected
            error = np.abs(block.numpy() - expected[list(world.mine)]).max()
            moved = np.abs(expected.mean(0) - mean).max()
            way = f"{name} by {gossip.transports()['parameters']}"
            gossip.close()
            if not error <= _TOLERANCE:
                wrong.append(f"on {way}, rows are off the product with the mixing matrix by {error:.1e}")
            if not moved <= _TOLERANCE:
                wrong.append(f"on {way}, the mean of agents moves by {moved:.1e}")
    if wrong:
        raise Fault(wrong[0], "if messages and shared memory pass, report it, with what mpidl env says")
    return f"{', '.join(_GRAPHS)}: W·X, and the mean is kept"
