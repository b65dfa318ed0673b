"""Undirected graphs drawn once from the seed: Erdős–Rényi, random regular, small world. They come out connected."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from itertools import chain
from typing import ClassVar

import numpy as np
from pydantic import Field

from mpidl.errors import ConfigError
from mpidl.graphs.paths import connected
from mpidl.graphs.weights import Neighbours, Undirected, undirected
from mpidl.seeding import stream

DRAWS = 100
PASSES = 1000
# Exchanges tried for each edge of a regular graph, and at most in all: only small graphs are not uniform before.
EXCHANGES = 20
MOST_EXCHANGES = 20_000


class Random(Undirected):
    """Draws again, at most 100 times, until every agent can reach every other."""

    seed: int | None = Field(None, ge=0, description="seed of the graph; null: the run's")
    hint: ClassVar[str] = ""

    @abstractmethod
    def draw(self, agents: int, random: np.random.Generator) -> Neighbours | None:
        """One graph, or None where this draw led nowhere."""

    def edges(self, agents: int, seed: int) -> Iterable[tuple[int, int]]:
        for attempt in range(DRAWS):
            random = stream(seed if self.seed is None else self.seed, "graph", 0, attempt)
            neighbours = self.draw(agents, random)
            if neighbours is not None and connected(neighbours, two_way=True):
                receivers = np.repeat(np.arange(agents), [len(row) for row in neighbours])
                senders = np.fromiter(chain.from_iterable(neighbours), np.int64, len(receivers))
                return np.stack([senders, receivers], axis=1)
        raise ConfigError(f"none of {DRAWS} draws connected the {agents} agents; {self.hint}", "graph")


class ErdosRenyi(Random):
    """Erdős–Rényi graph: each pair of agents is joined with probability p.

    What is drawn is how many pairs lie between two edges [Batagelj, Brandes 2005], so that a sparse graph of many
    agents takes no longer than it has edges.
    """

    p: float | None = Field(
        None,
        gt=0,
        le=1,
        description="probability of an edge; null: min(1, 2 ln N / N), twice where graphs get connected",
    )
    hint: ClassVar[str] = "raise p above ln(agents)/agents"

    def mean_degree(self, agents: int) -> float:
        return self._probability(agents) * (agents - 1)

    def draw(self, agents: int, random: np.random.Generator) -> Neighbours:
        pairs, p = agents * (agents - 1) // 2, self._probability(agents)
        expected = pairs * p
        last, parts = -1, [np.empty(0, dtype=np.int64)]
        while last < pairs - 1:
            # A step beyond the last pair is cut, since a very small p makes steps that no sum can hold.
            steps = np.minimum(random.geometric(p, size=math.ceil(expected + 4 * math.sqrt(expected) + 1)), pairs + 1)
            parts.append(last + np.cumsum(steps))
            last = int(parts[-1][-1])
        drawn = np.concatenate(parts)
        drawn = drawn[drawn < pairs]
        # Pairs (i, j) with i < j are counted row by row; those of row i begin at begins[i].
        row = np.arange(agents)
        begins = row * (2 * agents - row - 1) // 2
        i = np.searchsorted(begins, drawn, side="right") - 1
        return undirected(agents, np.stack([i, drawn - begins[i] + i + 1], axis=1))

    def _probability(self, agents: int) -> float:
        return min(1.0, 2 * math.log(agents) / agents) if self.p is None else self.p


class RandomRegular(Random):
    """Random regular graph: every agent has the same number of neighbours, and all such graphs are equally likely.

    Loose ends are paired off [Steger, Wormald 1999], which is uniform only for many agents with few neighbours each;
    then random pairs of edges exchange their ends until it is uniform for few agents as well [Cooper, Dyer, Greenhill
    2007].
    """

    degree: int | None = Field(None, ge=1, description="neighbours of each agent; null: 4, or all in a smaller company")
    hint: ClassVar[str] = "raise degree"

    def edges(self, agents: int, seed: int) -> Iterable[tuple[int, int]]:
        if self.degree is not None and (self.degree >= agents or self.degree * agents % 2):
            raise ConfigError(
                f"{agents} agents cannot have {self.degree} neighbours each; "
                "the degree must be below the number of agents, and their product even",
                "graph.degree",
            )
        return super().edges(agents, seed)

    def mean_degree(self, agents: int) -> float:
        return self.degree or 0

    def draw(self, agents: int, random: np.random.Generator) -> Neighbours | None:
        degree = min(4, agents - 1) if self.degree is None else self.degree
        # A dense regular graph is what a sparse one leaves out.
        sparse = degree <= (agents - 1) // 2
        edges = _paired(agents, degree if sparse else agents - 1 - degree, random)
        if edges is None:
            return None
        edges = _exchanged(edges, random)
        if not sparse:
            edges = {(i, j) for i in range(agents) for j in range(i + 1, agents)} - edges
        return undirected(agents, edges)


def _paired(agents: int, degree: int, random: np.random.Generator) -> set[tuple[int, int]] | None:
    """Pairs off loose ends at random, keeps what makes new edges, and goes on with the rest until that is stuck."""
    edges: set[tuple[int, int]] = set()
    ends = np.repeat(np.arange(agents), degree)
    for _ in range(PASSES):
        if not len(ends):
            return edges
        random.shuffle(ends)
        left = []
        for i, j in zip(*np.sort(ends.reshape(-1, 2), axis=1).T.tolist(), strict=True):
            if i != j and (i, j) not in edges:
                edges.add((i, j))
            else:
                left += [i, j]
        loose = sorted(set(left))
        if left and all((i, j) in edges for n, i in enumerate(loose) for j in loose[n + 1 :]):
            return None
        ends = np.array(left, dtype=np.int64)
    return None


def _exchanged(edges: set[tuple[int, int]], random: np.random.Generator) -> set[tuple[int, int]]:
    """The edges after many exchanges: a–b and c–d become a–d and c–b, unless that would repeat an edge or make a loop.

    An exchange is as likely as its reverse, so that in the long run all graphs with these degrees are equally likely.
    """
    order = sorted(edges)
    tries = min(EXCHANGES * len(order), MOST_EXCHANGES) if len(order) > 1 else 0
    chosen = random.integers(len(order), size=(tries, 2)).tolist() if tries else []
    turned = random.integers(2, size=tries).tolist()
    kept = set(order)
    for (first, second), turn in zip(chosen, turned, strict=True):
        a, b = order[first]
        c, d = reversed(order[second]) if turn else order[second]
        exchanged = (min(a, d), max(a, d)), (min(c, b), max(c, b))
        if a == d or b == c or not kept.isdisjoint(exchanged):
            continue
        kept -= {order[first], order[second]}
        kept.update(exchanged)
        order[first], order[second] = exchanged
    return kept


class SmallWorld(Random):
    """Small world: a ring lattice of which each edge's far end is moved with probability p [Watts, Strogatz 1998]."""

    degree: int = Field(
        4,
        ge=2,
        multiple_of=2,
        description="neighbours in the lattice, half on each side; all others in a smaller company",
    )
    p: float = Field(0.1, ge=0, le=1, description="probability that an edge is moved")
    hint: ClassVar[str] = "raise degree or lower p"

    def mean_degree(self, agents: int) -> float:
        return min(self.degree, agents - 1)

    def draw(self, agents: int, random: np.random.Generator) -> Neighbours:
        hops = range(1, min(self.degree // 2, agents // 2) + 1)
        lattice = undirected(agents, ((i, (i + hop) % agents) for hop in hops for i in range(agents)))
        neighbours = [set(row) for row in lattice]
        for hop in hops:
            for i in range(agents):
                j = (i + hop) % agents
                if random.random() >= self.p or j not in neighbours[i] or len(neighbours[i]) >= agents - 1:
                    continue
                taken = sorted({i, *neighbours[i]})
                # The so many-th of the others.
                moved = int(random.integers(agents - len(taken)))
                for other in taken:
                    moved += other <= moved
                neighbours[i].remove(j)
                neighbours[j].remove(i)
                neighbours[i].add(moved)
                neighbours[moved].add(i)
        return tuple(tuple(sorted(row)) for row in neighbours)
