"""The base-(k+1) graph: exact averaging in few rounds with at most k peers per round, for any number of agents.

[Takezawa, Sato, Bao, Niwa, Yamada 2023, "Beyond Exponential Graph", Algorithms 1 to 3.] A round is a set of weighted
edges, each used both ways; what an agent's edges leave over is its self-weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations

from pydantic import Field

from mpidl.graphs.base import Graph, Mixing, Periodic, Topology
from mpidl.graphs.weights import completed, require_held

# One round: {(i, j): w_ij} with i < j.
Round = dict[tuple[int, int], float]


class BaseK(Graph):
    """Base-(k+1) graph: a sequence of sparse rounds, at most k peers in each, that averages exactly [Takezawa 2023]."""

    k: int = Field(1, ge=1, description="most peers of an agent in a round")

    def build(self, agents: int, seed: int) -> Topology:
        # Each agent has k peers in one round at least, up to the clique of all.
        require_held(self.name, agents, agents * min(self.k, agents - 1))
        rounds = base_graph(range(agents), self.k)
        return Periodic([_mixing(agents, edges) for edges in rounds or [{}]])


def _mixing(agents: int, edges: Round) -> Mixing:
    rows: list[dict[int, float]] = [{} for _ in range(agents)]
    for (i, j), weight in edges.items():
        rows[i][j] = rows[j][i] = weight
    order = [tuple(sorted(row)) for row in rows]
    return completed(order, (tuple(row[j] for j in columns) for row, columns in zip(rows, order, strict=True)))


def _clique(nodes: Iterable[int]) -> Round:
    nodes = sorted(nodes)
    return dict.fromkeys(combinations(nodes, 2), 1 / len(nodes))


@cache
def _factors(size: int, largest: int) -> tuple[int, ...] | None:
    """The fewest factors from 2 to `largest` whose product is size, in descending order; None if there are none."""
    if size == 1:
        return ()
    best = None
    for factor in range(min(size, largest), 1, -1):
        if size % factor == 0:
            rest = _factors(size // factor, factor)
            if rest is not None and (best is None or len(rest) + 1 < len(best)):
                best = (factor, *rest)
    return best


def hyper_hypercube(nodes: Sequence[int], k: int) -> list[Round]:
    """Algorithm 1: per factor f of the size, cliques of f along one digit of the mixed-radix numbers of the nodes."""
    rounds = []
    stride = 1
    for factor in _factors(len(nodes), k + 1) or ():
        edges: Round = {}
        for start in range(len(nodes)):
            if start // stride % factor == 0:
                edges |= _clique(nodes[start + digit * stride] for digit in range(factor))
        rounds.append(edges)
        stride *= factor
    return rounds


def simple_base_graph(nodes: Sequence[int], k: int) -> list[Round]:
    """Algorithm 2: n = Σ a_l (k+1)^{p_l} blocks average within themselves, then pass their averages on in turn."""
    size = len(nodes)
    if _factors(size, k + 1) is not None:
        return hyper_hypercube(nodes, k)
    blocks: list[list[Sequence[int]]] = []  # blocks[l] is cut into a_l sub-blocks of (k+1)^{p_l} nodes
    start, power = 0, (k + 1) ** int(math.log(size, k + 1) + 1)
    while power:
        count = (size - start) // power
        if count:
            blocks.append([nodes[start + a * power : start + (a + 1) * power] for a in range(count)])
            start += count * power
        power //= k + 1
    whole = [hyper_hypercube([node for part in parts for node in part], k) for parts in blocks]
    within = [[hyper_hypercube(part, k) for part in parts] for parts in blocks]
    sizes = [sum(map(len, parts)) for parts in blocks]
    first = len(whole[0])
    rounds: list[Round] = [
        {edge: weight for sequence in whole if sequence for edge, weight in sequence[m % len(sequence)].items()}
        for m in range(first)
    ]
    # Then each round j serves block j's average to all later blocks, while earlier ones spread what they have got.
    last = len(blocks) - 1
    for j in range(1 + len(within[0][0])):
        edges: Round = {}
        if j <= last:
            weight = sizes[j] / sum(sizes[j:]) / len(blocks[j])
            later = [node for parts in blocks[j + 1 :] for part in parts for node in part]
            for place, node in enumerate(later):
                edges |= {(part[place], node): weight for part in blocks[j]}
            left = [node for place in range(len(later), len(blocks[j][0])) for node in (p[place] for p in blocks[j])]
            if j < last:
                for begin in range(0, len(left), k + 1):
                    edges |= _clique(left[begin : begin + k + 1])
        for block in range(min(j, last + 1)):
            for sequence in within[block]:
                if sequence:
                    edges |= sequence[(j - block - 1) % len(sequence)]
        rounds.append(edges)
    return rounds


def base_graph(nodes: Sequence[int], k: int) -> list[Round]:
    """Algorithm 3: the factored form or the plain one, whichever has fewer rounds.

    Factored, n = p·q with p all factors up to k + 1: q at a time average, and then p across. It is also taken where
    both are equally long, because it nearly always sends fewer messages (n = 26, k = 4: 278 per period, not 494).
    """
    smooth = _smooth_part(len(nodes), k + 1)
    rest = len(nodes) // smooth
    across_rounds = len(_factors(smooth, k + 1) or ())
    if smooth == 1 or rest == 1 or _rounds(len(nodes), k) < _rounds(rest, k) + across_rounds:
        return simple_base_graph(nodes, k)
    groups = [simple_base_graph(nodes[start : start + rest], k) for start in range(0, len(nodes), rest)]
    factored = [{edge: weight for group in groups for edge, weight in group[m].items()} for m in range(len(groups[0]))]
    across = [hyper_hypercube(nodes[place::rest], k) for place in range(rest)]
    factored += [{edge: weight for line in across for edge, weight in line[m].items()} for m in range(len(across[0]))]
    return factored


def _rounds(size: int, k: int) -> int:
    """How many the plain form has."""
    factors = _factors(size, k + 1)
    if factors is not None:
        return len(factors)
    power = max((k + 1) ** exponent for exponent in range(size.bit_length()) if (k + 1) ** exponent <= size)
    return len(_factors(size // power * power, k + 1) or ()) + 1 + len(_factors(power, k + 1) or ())


def _smooth_part(size: int, largest: int) -> int:
    """The largest divisor of size whose prime factors are all at most `largest`."""
    smooth = 1
    for prime in range(2, largest + 1):
        while size % prime == 0:
            size //= prime
            smooth *= prime
    return smooth
