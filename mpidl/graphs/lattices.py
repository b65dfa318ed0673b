"""Graphs with a shape in space: grid, torus, hypercube, binary tree."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from mpidl.errors import ConfigError
from mpidl.graphs.weights import Undirected

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Grid(Undirected):
    """Grid: agents in rows × columns, row by row; each exchanges with those beside, above and below it.

    With one of rows and columns left out it follows from the other; with both, the squarest shape is taken (7 agents
    can only be a line).
    """

    rows: int | None = Field(None, ge=1, description="rows; null: agents / columns")
    columns: int | None = Field(None, ge=1, description="columns; null: agents / rows")

    def shape(self, agents: int) -> tuple[int, int]:
        """Rows and columns for so many agents."""
        rows, columns = self.rows, self.columns
        if rows is None:
            squarest = max(side for side in range(1, math.isqrt(agents) + 1) if agents % side == 0)
            rows = squarest if columns is None else max(agents // columns, 1)
        if columns is None:
            columns = max(agents // rows, 1)
        if rows * columns != agents:
            raise ConfigError(
                f"a {self.name} of {rows} × {columns} has {rows * columns} agents, not {agents}; "
                "set rows and columns so that their product is the number of agents",
                "graph.rows" if self.rows is not None else "graph.columns",
            )
        return rows, columns

    def edges(self, agents: int, seed: int) -> Iterable[tuple[int, int]]:
        places = np.arange(agents).reshape(self.shape(agents))
        yield from zip(places[:, :-1].ravel().tolist(), places[:, 1:].ravel().tolist(), strict=True)
        yield from zip(places[:-1].ravel().tolist(), places[1:].ravel().tolist(), strict=True)

    def positions(self, agents: int) -> NDArray[np.float64]:
        row, column = np.divmod(np.arange(agents), self.shape(agents)[1])
        return np.stack([column, -row], axis=1).astype(float)


class Torus(Grid):
    """Torus: a grid whose rows and columns close to rings."""

    def edges(self, agents: int, seed: int) -> Iterable[tuple[int, int]]:
        places = np.arange(agents).reshape(self.shape(agents))
        for axis in (0, 1):
            yield from zip(places.ravel().tolist(), np.roll(places, -1, axis).ravel().tolist(), strict=True)

    def positions(self, agents: int) -> NDArray[np.float64]:
        # Bent, so that the edges that close a ring do not lie on those that they pass.
        columns, rows = super().positions(agents).T
        bend = 0.25 * np.array([np.sin(np.pi * np.abs(rows) / max(np.ptp(rows), 1)), np.zeros(agents)])
        bend[1] = 0.25 * np.sin(np.pi * columns / max(np.ptp(columns), 1))
        return np.stack([columns + bend[0], rows + bend[1]], axis=1)


class Hypercube(Undirected):
    """Hypercube: 2^d agents; each exchanges with the d whose number differs from its own in one bit."""

    def edges(self, agents: int, seed: int) -> Iterable[tuple[int, int]]:
        if agents & (agents - 1):
            below = 1 << (agents.bit_length() - 1)
            raise ConfigError(
                f"a hypercube has a power of two of agents, not {agents}; the nearest are {below} and {2 * below}",
                "graph",
            )
        for i in range(agents):
            for bit in range(agents.bit_length() - 1):
                yield i, i ^ (1 << bit)

    def positions(self, agents: int) -> NDArray[np.float64]:
        # Each further bit moves a copy of the cube in a direction of its own.
        dimensions = agents.bit_length() - 1
        places = np.zeros((agents, 2))
        for bit in range(dimensions):
            angle = np.pi * (bit + 0.3) / max(dimensions, 1)
            step = np.array([np.cos(angle), np.sin(angle)]) * (1 + 0.35 * bit)
            places += ((np.arange(agents) >> bit) & 1)[:, None] * step
        return places


class BinaryTree(Undirected):
    """Binary tree: agent i exchanges with its parent (i − 1) // 2 and its children 2i + 1 and 2i + 2."""

    def edges(self, agents: int, seed: int) -> Iterable[tuple[int, int]]:
        return (((i - 1) // 2, i) for i in range(1, agents))

    def positions(self, agents: int) -> NDArray[np.float64]:
        level = np.floor(np.log2(np.arange(1, agents + 1))).astype(int)
        return np.stack([(np.arange(1, agents + 1) - 2**level + 0.5) / 2.0**level, -level / (level[-1] + 1)], axis=1)
