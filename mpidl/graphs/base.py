"""What a graph is to the rest of mpidl: the weights of one round (`Mixing`) and who exchanges with whom at round t.

`(W X)_i = Σ_j w_ij x_j`: row i of W lists what agent i receives, column j where agent j's row goes.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np

from mpidl.errors import ConfigError
from mpidl.registry import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Weights written to nine digits or more count as summing to 1; what the rules here compute is exact to rounding.
TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class Mixing:
    """One round's mixing matrix W, by its non-zero entries.

    `neighbours[i]` are the agents j ≠ i, ascending, whose row agent i receives, `weights[i]` their w_ij, and
    `self_weights[i]` is w_ii (which may be zero or negative).
    """

    neighbours: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[float, ...], ...]
    self_weights: tuple[float, ...]

    @classmethod
    def from_dense(cls, matrix: NDArray[np.float64], source: str = "the mixing matrix") -> Mixing:
        """The matrix without its zeros; `source` names it where it is not a square matrix of finite numbers."""
        try:
            matrix = np.asarray(matrix, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{source} is not a matrix of numbers: {error}", "graph") from error
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ConfigError(f"{source} has shape {matrix.shape}, not agents × agents", "graph")
        if not np.isfinite(matrix).all():
            i, j = np.argwhere(~np.isfinite(matrix))[0]
            raise ConfigError(f"{source} has the weight {matrix[i, j]} in row {i}, column {j}; use numbers", "graph")
        neighbours = [np.flatnonzero(row) for row in matrix]
        neighbours = [columns[columns != i] for i, columns in enumerate(neighbours)]
        return cls(
            tuple(tuple(columns.tolist()) for columns in neighbours),
            tuple(tuple(matrix[i, columns].tolist()) for i, columns in enumerate(neighbours)),
            tuple(np.diagonal(matrix).tolist()),
        )

    @property
    def agents(self) -> int:
        return len(self.self_weights)

    @cached_property
    def messages(self) -> int:
        """Rows sent from one agent to another in this round."""
        return sum(map(len, self.neighbours))

    @cached_property
    def receivers(self) -> tuple[tuple[int, ...], ...]:
        """For each agent j, the agents i ≠ j, ascending, that need j's row."""
        rows, columns, _ = self.entries
        order = np.argsort(columns, kind="stable")
        return grouped(self.agents, columns[order], rows[order])

    @cached_property
    def entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Rows, columns and values of the non-zero entries off the diagonal, row by row."""
        rows = np.repeat(np.arange(self.agents), [len(columns) for columns in self.neighbours])
        columns = np.fromiter(chain.from_iterable(self.neighbours), np.int64, self.messages)
        values = np.fromiter(chain.from_iterable(self.weights), np.float64, self.messages)
        return rows, columns, values

    def dense(self) -> NDArray[np.float64]:
        """W as an agents × agents matrix, made anew at each call."""
        rows, columns, values = self.entries
        matrix = np.diag(np.array(self.self_weights))
        matrix[rows, columns] = values
        return matrix

    @cached_property
    def row_sums(self) -> NDArray[np.float64]:
        return np.array([math.fsum((own, *row)) for own, row in zip(self.self_weights, self.weights, strict=True)])

    @cached_property
    def column_sums(self) -> NDArray[np.float64]:
        _, columns, values = self.entries
        return np.array(self.self_weights) + np.bincount(columns, values, minlength=self.agents)

    # Written so that a NaN is not stochastic.
    @property
    def row_stochastic(self) -> bool:
        return bool((np.abs(self.row_sums - 1) <= TOLERANCE).all())

    @property
    def column_stochastic(self) -> bool:
        return bool((np.abs(self.column_sums - 1) <= TOLERANCE).all())

    @cached_property
    def transposed_gap(self) -> tuple[float, int, int]:
        """The largest |w_ij − w_ji|, with its i and j."""
        rows, columns, values = self.entries
        if self.two_way:
            i, j, here, there = rows, columns, values, values[np.lexsort((rows, columns))]
        else:
            # An entry without a mirror image has 0 there.
            forward = rows * self.agents + columns
            every = np.union1d(forward, columns * self.agents + rows)
            i, j = np.divmod(every, self.agents)
            here = np.zeros(len(every))
            here[np.searchsorted(every, forward)] = values
            there = here[np.searchsorted(every, j * self.agents + i)]
        difference = np.abs(here - there)
        if not len(i):
            return 0.0, 0, 0
        worst = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
        return float(difference[worst]), int(i[worst]), int(j[worst])

    @property
    def symmetric(self) -> bool:
        """w_ij = w_ji for all i and j."""
        return self.transposed_gap[0] <= TOLERANCE

    @cached_property
    def two_way(self) -> bool:
        """Whoever receives also sends, whatever the weights."""
        rows, columns, _ = self.entries
        mirror = np.lexsort((rows, columns))
        return bool(np.array_equal(rows, columns[mirror]) and np.array_equal(columns, rows[mirror]))

    @cached_property
    def digest(self) -> bytes:
        """Eight bytes that tell this matrix from another, the same in every process."""
        rows, columns, values = self.entries
        summary = hashlib.blake2b(self.agents.to_bytes(8, "little"), digest_size=8)
        for part, dtype in ((rows, "<i8"), (columns, "<i8"), (values, "<f8"), (np.array(self.self_weights), "<f8")):
            summary.update(part.astype(dtype).tobytes())
        return summary.digest()

    def relabelled(self, permutation: Sequence[int]) -> Mixing:
        """ΠᵀWΠ: agent i takes the place that agent `permutation[i]` has here, w'_ij = w_p(i)p(j)."""
        places = [0] * self.agents
        for i, place in enumerate(permutation):
            places[place] = i
        neighbours, weights = [], []
        for place in permutation:
            order = sorted(zip((places[j] for j in self.neighbours[place]), self.weights[place], strict=True))
            neighbours.append(tuple(j for j, _ in order))
            weights.append(tuple(w for _, w in order))
        return Mixing(tuple(neighbours), tuple(weights), tuple(self.self_weights[place] for place in permutation))

    def __repr__(self) -> str:
        return f"Mixing({self.agents} agents, {self.messages} messages, {self.digest.hex()})"


def grouped(agents: int, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    """For each agent the columns beside its number in `rows`, which ascend."""
    # One object for each agent, and not for each time it is named, saves a third of a large graph's memory.
    named = tuple(map(tuple(range(agents)).__getitem__, columns.tolist()))
    ends = np.cumsum(np.bincount(rows, minlength=agents)).tolist()
    return tuple(named[begin:end] for begin, end in pairwise([0, *ends]))


class Topology(ABC):
    """The mixing matrix of every round t = 0, 1, …

    `period` is 1 for a static graph, p for one that repeats every p rounds, None for one drawn anew every round.
    `directed` says whether anybody ever receives from an agent to whom it does not send.
    """

    agents: int
    period: int | None
    directed: bool

    @abstractmethod
    def at(self, t: int) -> Mixing:
        """The weights of round t; the same object for the same phase of a periodic graph."""

    def rounds(self, limit: int) -> range:
        """Rounds that show everything the graph does: one period, or the first `limit` rounds of a drawn one."""
        return range(limit if self.period is None else self.period)


class Periodic(Topology):
    """A given sequence of rounds, repeated; with one round, a static graph."""

    def __init__(self, phases: Sequence[Mixing]) -> None:
        self.phases = tuple(phases)
        self.agents = self.phases[0].agents
        self.period = len(self.phases)
        self.directed = not all(phase.two_way for phase in self.phases)

    def at(self, t: int) -> Mixing:
        return self.phases[t % len(self.phases)]


class Drawn(Topology):
    """Rounds drawn anew, each from its number alone: `draw(t)`."""

    period = None

    def __init__(self, agents: int, draw: Callable[[int], Mixing], directed: bool) -> None:
        self.agents = agents
        self.directed = directed
        self._draw = draw
        # A round asks for its own weights once for each quantity it mixes; older ones can be drawn again.
        self._newest: tuple[int, Mixing] | None = None

    def at(self, t: int) -> Mixing:
        if self._newest is None or self._newest[0] != t:
            self._newest = (t, self._draw(t))
        return self._newest[1]


class Graph(Part, ABC):
    """Settings of one graph; `build` makes it for so many agents."""

    @abstractmethod
    def build(self, agents: int, seed: int) -> Topology:
        """The graph of `agents` agents; whatever is random in it comes from the seed."""

    def positions(self, agents: int) -> NDArray[np.float64]:
        """Where to draw each agent, `[agents, 2]`: on a circle, unless the graph has a shape of its own."""
        angles = np.pi / 2 - 2 * np.pi * np.arange(agents) / agents
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
