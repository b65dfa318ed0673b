"""From who receives from whom to how much: the weight rules, and the static graphs that choose one by name."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from mpidl.errors import ConfigError, choices_sentence
from mpidl.graphs.base import Graph, Mixing, Periodic, Topology, grouped

if TYPE_CHECKING:
    from numpy.typing import NDArray

# neighbours[i]: ascending agents j ≠ i whose row agent i receives.
Neighbours = Sequence[tuple[int, ...]]

# Weights that a process holds of a graph, each in so many bytes with what is worked out from it: 6 GB.
MOST_WEIGHTS, BYTES_PER_WEIGHT = 50_000_000, 125


def _known(value: object) -> object:
    if value not in RULES:
        raise ConfigError(choices_sentence(value, RULES))
    return value


Rule = Annotated[
    Literal["metropolis", "uniform", "lazy", "best-constant", "out-degree"],
    BeforeValidator(_known),
    Field(
        description="metropolis 1/(1 + max(d_i, d_j)), uniform 1/(d_max + 1), lazy (I + W)/2 of metropolis, "
        "best-constant I − 2/(λ₂ + λ_N)L (self-weights may be negative), out-degree 1/(1 + d_j) of the sender j "
        "(columns sum to 1, for sgp)"
    ),
]


def undirected(agents: int, edges: Iterable[tuple[int, int]]) -> Neighbours:
    """Neighbours when every edge works both ways; self-loops and repeated edges count once or not at all."""
    first, second = _ends(edges)
    return _ordered(agents, np.concatenate([first, second]), np.concatenate([second, first]))


def directed(agents: int, edges: Iterable[tuple[int, int]]) -> Neighbours:
    """Neighbours when every edge (sender, receiver) works one way."""
    senders, receivers = _ends(edges)
    return _ordered(agents, receivers, senders)


def _ends(edges: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    flat = edges.ravel() if isinstance(edges, np.ndarray) else np.fromiter(chain.from_iterable(edges), np.int64)
    return flat.reshape(-1, 2).T


def _ordered(agents: int, receivers: NDArray[np.int64], senders: NDArray[np.int64]) -> Neighbours:
    apart = receivers != senders
    # numpy.unique took ten times as long.
    keys = np.sort(receivers[apart] * agents + senders[apart])
    rows, columns = np.divmod(keys[np.diff(keys, prepend=-1) > 0], agents)
    return grouped(agents, rows, columns)


def completed(neighbours: Neighbours, weights: Iterable[tuple[float, ...]]) -> Mixing:
    """The mixing matrix whose self-weights make every row sum to 1."""
    weights = tuple(weights)
    return Mixing(tuple(neighbours), weights, tuple(1.0 - math.fsum(row) for row in weights))


def metropolis(neighbours: Neighbours) -> Mixing:
    """w_ij = 1/(1 + max(d_i, d_j))."""
    d = [len(row) for row in neighbours]
    # As many numbers as degrees, not as edges.
    weight = [1 / (1 + degree) for degree in range(max(d, default=0) + 1)]
    return completed(neighbours, (tuple(weight[max(d[i], d[j])] for j in row) for i, row in enumerate(neighbours)))


def uniform(neighbours: Neighbours) -> Mixing:
    """w_ij = 1/(d_max + 1), the same on every edge."""
    weight = 1 / (1 + max(map(len, neighbours)))
    return completed(neighbours, ((weight,) * len(row) for row in neighbours))


def lazy(neighbours: Neighbours) -> Mixing:
    """(I + W)/2 with the metropolis W: no negative eigenvalues."""
    return completed(neighbours, (tuple(w / 2 for w in row) for row in metropolis(neighbours).weights))


def best_constant(neighbours: Neighbours) -> Mixing:
    """I − 2/(λ₂ + λ_N) L, L the Laplacian: the fastest with one weight for all edges [Xiao, Boyd 2004, section 4.1].

    Self-weights may be negative (−0.56 at the centre of a star of 8).
    """
    agents = len(neighbours)
    laplacian = np.diag([float(len(row)) for row in neighbours])
    for i, row in enumerate(neighbours):
        laplacian[i, list(row)] = -1
    eigenvalues = np.linalg.eigvalsh(laplacian)
    if eigenvalues[-1] <= 0:  # no edges at all
        return completed(neighbours, [()] * agents)
    # Twelve digits, because ranks on unlike processors must agree on the weight to the last bit.
    weight = float(f"{2 / (eigenvalues[1] + eigenvalues[-1]):.12g}")
    return completed(neighbours, ((weight,) * len(row) for row in neighbours))


def out_degree(neighbours: Neighbours) -> Mixing:
    """w_ij = 1/(1 + out-degree of j): columns sum to 1, rows only where the graph is regular [Assran et al. 2019]."""
    d = [0] * len(neighbours)
    for row in neighbours:
        for j in row:
            d[j] += 1
    weights = tuple(tuple(1 / (1 + d[j]) for j in row) for row in neighbours)
    return Mixing(tuple(neighbours), weights, tuple(1 / (1 + degree) for degree in d))


RULES: dict[str, Callable[[Neighbours], Mixing]] = {
    "metropolis": metropolis,
    "uniform": uniform,
    "lazy": lazy,
    "best-constant": best_constant,
    "out-degree": out_degree,
}


def by_rule(neighbours: Neighbours, rule: str | None, one_way: bool) -> Topology:
    """The static graph with this rule's weights; None is metropolis, or out-degree where edges work one way."""
    rule = rule or ("out-degree" if one_way else "metropolis")
    if one_way and rule != "out-degree":
        raise ConfigError(f"{rule!r} is a rule for undirected graphs; a directed one takes out-degree", "graph.weights")
    return Periodic([RULES[rule](neighbours)])


def require_held(name: str, agents: int, weights: float) -> None:
    """Refuses a graph with more weights than a process can hold."""
    if weights > MOST_WEIGHTS:
        raise ConfigError(
            f"{name!r} of {agents:,} agents has {weights:,.0f} weights, which need "
            f"{weights * BYTES_PER_WEIGHT / 1e9:,.0f} GB on every rank, and at most {MOST_WEIGHTS:,} are held; "
            "choose a sparser graph, or a federated algorithm, which averages over all agents without one",
            "graph",
        )


class Undirected(Graph):
    """A static graph whose edges work both ways."""

    weights: Rule = "metropolis"

    @abstractmethod
    def edges(self, agents: int, seed: int) -> Iterable[tuple[int, int]]:
        """Each edge at least once, in either direction."""

    def mean_degree(self, agents: int) -> float:
        """Neighbours of an agent, about; a graph that can have many of them tells it before its edges are made."""
        return 0.0

    def build(self, agents: int, seed: int) -> Topology:
        require_held(self.name, agents, agents * self.mean_degree(agents))
        return by_rule(undirected(agents, self.edges(agents, seed)), self.weights, one_way=False)


class Directed(Graph):
    """A static graph whose edges work one way."""

    weights: Literal["out-degree"] = Field(
        "out-degree", description="1/(1 + out-degree of the sender): columns sum to 1"
    )

    @abstractmethod
    def edges(self, agents: int) -> Iterable[tuple[int, int]]:
        """Pairs (sender, receiver)."""

    def build(self, agents: int, seed: int) -> Topology:
        return by_rule(directed(agents, self.edges(agents)), self.weights, one_way=True)
