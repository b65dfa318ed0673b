"""Graphs of one line each: ring, chain, star, complete."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from mpidl.graphs.weights import Undirected

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Ring(Undirected):
    """Ring: agent i exchanges with i − 1 and i + 1."""

    def edges(self, agents: int, seed: int) -> Iterable[tuple[int, int]]:
        return ((i, (i + 1) % agents) for i in range(agents))


class Chain(Undirected):
    """Chain: a ring that is open between the last agent and the first."""

    def edges(self, agents: int, seed: int) -> Iterable[tuple[int, int]]:
        return ((i, i + 1) for i in range(agents - 1))

    def positions(self, agents: int) -> NDArray[np.float64]:
        # Rows that turn at their ends keep a long chain legible.
        width = int(np.ceil(np.sqrt(agents)))
        row, column = np.divmod(np.arange(agents), width)
        return np.stack([np.where(row % 2, width - 1 - column, column), -row], axis=1).astype(float)


class Star(Undirected):
    """Star: every agent exchanges with agent 0 alone."""

    def edges(self, agents: int, seed: int) -> Iterable[tuple[int, int]]:
        return ((0, i) for i in range(1, agents))

    def positions(self, agents: int) -> NDArray[np.float64]:
        return np.concatenate([np.zeros((1, 2)), super().positions(max(agents - 1, 1))])[:agents]


class Complete(Undirected):
    """Complete: every agent exchanges with every other; metropolis averages exactly in one round."""

    def edges(self, agents: int, seed: int) -> Iterable[tuple[int, int]]:
        return combinations(range(agents), 2)

    def mean_degree(self, agents: int) -> float:
        return agents - 1
