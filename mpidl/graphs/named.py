"""Two celebrated graphs of fixed size in which every agent has three neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from mpidl.errors import ConfigError
from mpidl.graphs.weights import Undirected

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _require(name: str, size: int, agents: int) -> None:
    if agents != size:
        raise ConfigError(f"the {name} graph has {size} agents, not {agents}; take agents: {size} (-n {size})", "graph")


class Petersen(Undirected):
    """Petersen graph: 10 agents, 3 neighbours each, nobody more than 2 hops away."""

    def edges(self, agents: int, seed: int) -> Iterable[tuple[int, int]]:
        _require("Petersen", 10, agents)
        for i in range(5):
            yield i, (i + 1) % 5
            yield i, i + 5
            yield i + 5, (i + 2) % 5 + 5

    def positions(self, agents: int) -> NDArray[np.float64]:
        pentagon = super().positions(5)
        return np.concatenate([pentagon, pentagon / 2])


class Dyck(Undirected):
    """Dyck graph: 32 agents, 3 neighbours each, nobody more than 5 hops away [LCF notation 5, −5, 13, −13, 8 times]."""

    def edges(self, agents: int, seed: int) -> Iterable[tuple[int, int]]:
        _require("Dyck", 32, agents)
        for i in range(32):
            yield i, (i + 1) % 32
            yield i, (i + (5, -5, 13, -13)[i % 4]) % 32
