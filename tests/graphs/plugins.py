"""Graphs as a user might write them."""

from __future__ import annotations

import networkx
import numpy as np

from mpidl.graphs.weights import Undirected


def pair_up(agents, seed, shift=1):
    """Two rounds that pair each agent with its neighbour on one side, then on the other."""
    rounds = []
    for start in (0, shift):
        matrix = np.eye(agents)
        for i in range(start, agents - 1, 2):
            matrix[i : i + 2, i : i + 2] = 0.5
        rounds.append(matrix)
    return rounds


def wheel(agents):
    return networkx.wheel_graph(agents)


def identity(agents, **keys):
    return np.eye(agents) * keys.get("scale", 1)


def too_small():
    return np.eye(2)


def nothing():
    return None


def failing(agents):
    raise RuntimeError("on purpose")


class Hub(Undirected):
    """Hub: a star around an agent of choice."""

    hub: int = 0

    def edges(self, agents, seed):
        return ((self.hub, i) for i in range(agents))
