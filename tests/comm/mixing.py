"""Graphs and an oracle for the tests of gossip: every row known to every rank, mixed by one dense product."""

from __future__ import annotations

import numpy as np
import torch

from mpidl.comm.gossip.gossip import Gossip
from mpidl.comm.gossip.neighbourhood import Neighbourhood
from mpidl.comm.gossip.settings import GossipSettings
from mpidl.comm.gossip.sizes import Sizes
from mpidl.comm.meters import Meters
from mpidl.comm.placement import Placement
from mpidl.comm.world import World
from mpidl.graphs.base import Drawn, Mixing, Periodic, Topology
from mpidl.layout import Layout
from mpidl.state import State

SMALL = Sizes()
"""Rows of a test travel inside letters."""
LARGE = Sizes(chunk=64, inside=0, ahead=3, far=2, near=2)
"""Rows of a few hundred numbers travel as large ones do: in more chunks than are under way at a time."""


def random_matrix(agents: int, density: float, seed: int, directed: bool = False) -> np.ndarray:
    """Column-stochastic, with an irregular pattern; doubly stochastic and symmetric unless directed."""
    generator = np.random.default_rng(seed)
    pattern = np.triu(generator.random((agents, agents)) < density, 1)
    if directed:
        pattern = generator.random((agents, agents)) < density
        np.fill_diagonal(pattern, True)
        return pattern / pattern.sum(0)
    pattern = pattern | pattern.T
    degree = pattern.sum(1)
    matrix = np.where(pattern, 1 / (1 + np.maximum.outer(degree, degree)), 0.0)
    return matrix + np.diag(1 - matrix.sum(1))


def ring_matrix(agents: int) -> np.ndarray:
    matrix = np.zeros((agents, agents))
    for i in range(agents):
        for j in {(i - 1) % agents, i, (i + 1) % agents}:
            matrix[i, j] = 1 / len({(i - 1) % agents, i, (i + 1) % agents})
    return matrix


def static(matrix: np.ndarray) -> Topology:
    return Periodic([Mixing.from_dense(matrix)])


def topologies(agents: int) -> dict[str, Topology]:
    """One of every kind that matters to the engine."""
    return {
        "ring": static(ring_matrix(agents)),
        "complete": static(np.full((agents, agents), 1 / agents)),
        "irregular": static(random_matrix(agents, 0.3, agents)),
        "directed": static(random_matrix(agents, 0.3, agents, directed=True)),
        "nobody": static(np.eye(agents)),
        "periodic": Periodic(
            [Mixing.from_dense(random_matrix(agents, 0.4, agents + p, directed=p == 1)) for p in range(3)]
        ),
        "drawn": Drawn(agents, lambda t: Mixing.from_dense(random_matrix(agents, 0.3, 100 + t, t % 2 == 0)), True),
    }


def rows(agents: int, parameters: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(agents, parameters, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(dtype)


def world_of(comm, agents: int, owners: tuple[int, ...] | None = None) -> World:
    """A world, with a placement of the caller's choice."""
    world = World(comm, agents)
    if owners is not None:
        world.placement = Placement(owners, comm.size)
    return world


def gossip_of(
    world: World,
    topology: Topology,
    parameters: int,
    dtype: torch.dtype = torch.float32,
    sizes: Sizes | None = None,
    meters: Meters | None = None,
    **settings,
) -> Gossip:
    """Exchanges of rows that are one tensor."""
    neighbourhood = Neighbourhood(world, topology, GossipSettings(**settings), meters or Meters(), sizes)
    state = State(world.mine, world.agents, parameters, dtype, world.device)
    return Gossip(neighbourhood, state, Layout(("row",), ((parameters,),)), seed=3)


def mixed(
    world: World, topology: Topology, start: torch.Tensor, rounds: int, sizes: Sizes | None = None, **settings
) -> torch.Tensor:
    """All rows after so many rounds, gathered on every rank."""
    gossip = gossip_of(world, topology, start.shape[1], start.dtype, sizes, **settings)
    exchange = gossip.exchange("parameters")
    mine = list(world.mine)
    Z = exchange.blocks[0]
    Z.copy_(start[mine])
    for t in range(rounds):
        Z = exchange.mix(Z, t)
    result = torch.empty_like(start)
    for agents, block in world.comm.allgather((mine, Z.clone().numpy())):
        result[agents] = torch.from_numpy(block)
    exchange = Z = None
    gossip.close()
    world.close()
    return result


def dense(topology: Topology, start: torch.Tensor, rounds: int, gamma: float = 1.0) -> torch.Tensor:
    X = start.double().numpy()
    for t in range(rounds):
        X = X + gamma * (topology.at(t).dense() @ X - X)
    return torch.from_numpy(X)
