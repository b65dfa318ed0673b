"""The fixed binary tree in which every sum over agents runs. Plain numbers: no MPI here.

Node (level, index) of the tree over n positions covers positions [index·2^level, (index+1)·2^level) below n. Its value
is left + right, or left alone where the right half lies beyond n. Additions round, so only a fixed tree makes a sum the
same bits wherever its terms were computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Node = tuple[int, int]


def tree_sum(values: Any) -> Any:
    """The sum over the first axis of numbers or arrays, in the fixed tree; zero where there are none."""
    terms = np.asarray(values)
    if not len(terms):
        return np.zeros(terms.shape[1:], terms.dtype)[()]
    while len(terms) > 1:
        pairs = terms[0:-1:2] + terms[1::2]
        terms = np.concatenate([pairs, terms[-1:]]) if len(terms) % 2 else pairs
    return terms[0]


@dataclass(frozen=True, eq=False)
class Cut:
    """The tree, cut where ranks meet.

    `nodes[r]`: the largest nodes of which rank r owns every position, ascending; it can sum those by itself. `sole[r]`:
    whether the last of them is one position alone, whose row is not added to anything on that rank.
    `additions`: the rest of the tree as (target, left, right) over registers. The first registers hold the nodes of
    rank 0, then those of rank 1, …; the others, up to `registers`, are scratch. `root` is where the sum ends up.
    """

    nodes: tuple[tuple[Node, ...], ...]
    sole: tuple[bool, ...]
    additions: tuple[tuple[int, int, int], ...]
    root: int
    registers: int

    @property
    def inputs(self) -> int:
        """The number of nodes of all ranks together."""
        return sum(map(len, self.nodes))


def cut(owners: Sequence[int], ranks: int) -> Cut:
    """Cuts the tree over positions, at least one, of which `owners[p]` yields number p."""
    nodes: list[list[Node]] = [[] for _ in range(ranks)]
    single: set[Node] = set()
    program: list[tuple[Node, Node, Node]] = []

    def visit(level: int, index: int) -> Node:
        share = owners[index << level : (index + 1) << level]
        if all(owner == share[0] for owner in share):
            nodes[share[0]].append((level, index))
            if len(share) == 1:
                single.add((level, index))
            return level, index
        left = visit(level - 1, 2 * index)
        if (2 * index + 1) << (level - 1) >= len(owners):
            return left
        program.append(((level, index), left, visit(level - 1, 2 * index + 1)))
        return level, index

    root = visit((len(owners) - 1).bit_length(), 0)
    register = {node: number for number, node in enumerate(node for share in nodes for node in share)}
    inputs = registers = len(register)
    free: list[int] = []
    additions = []
    for target, *terms in program:
        left, right = (register[term] for term in terms)
        free += [used for used in (left, right) if used >= inputs]
        if not free:
            free.append(registers)
            registers += 1
        register[target] = free.pop()
        additions.append((register[target], left, right))
    sole = tuple(bool(single.intersection(share[-1:])) for share in nodes)
    return Cut(tuple(map(tuple, nodes)), sole, tuple(additions), register[root], registers)


def rows_held(owners: Sequence[int], ranks: int) -> float:
    """At most so many rows of memory a rank needs to sum over these positions, beside its own and the result.

    Its own partial sums, and what reaches it where ranks send each other messages; or in shared memory a copy of its
    last row, and its part of the total.
    """
    plan = cut(owners, ranks)
    partial = max(len(nodes) - 1 + max(level for level, _ in nodes) for nodes in plan.nodes if nodes)
    return partial + (max(plan.inputs, ranks * any(plan.sole) + 1) / ranks if ranks > 1 else 0.0)


def rows_held_of_any(positions: int, ranks: int) -> float:
    """What `rows_held` is at most, for so many positions or fewer that ranks have in runs, wherever those begin.

    A run that begins or ends with the positions is one node of each level at most, any other two. Each place where
    two runs meet cuts one node of each level in two.
    """
    levels = (positions - 1).bit_length()
    if ranks == 1:
        return float(levels)
    partial = max(levels, 2 * levels - 2, 3 * levels - 5 if ranks > 2 else 0)
    return partial + max(1 + (ranks - 1) * levels, ranks + 1) / ranks
