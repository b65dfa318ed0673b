"""The sums of all agents of a rank by few calls: rows that are added to others all at once, and in what order.

Every agent adds its neighbours by ascending number, as if it were alone; what is free is which agents do so together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from mpidl.comm.gossip.sizes import GATHERED

if TYPE_CHECKING:
    from torch import Tensor


class Summand(NamedTuple):
    """One row that one agent of this rank adds."""

    target: int
    """The agent's place among those of its rank."""
    order: int
    """How many neighbours it adds before."""
    distance: int
    """The neighbour's number less the agent's own."""
    home: int
    """The rank that the neighbour's row comes from."""
    source: int
    """The row's place among those that come from there, wherever they lie."""
    weight: float


class StridedRows(NamedTuple):
    """`length` rows one after another, and that `times` over, each time `apart` rows further on."""

    first: int
    length: int
    times: int = 1
    apart: int = 0

    def of(self, block: Tensor) -> Tensor:
        """A view of these rows: `[length, P]`, or `[times, length, P]`."""
        if self.times == 1:
            return block[self.first : self.first + self.length]
        row, column = block.stride()
        shape, strides = (self.times, self.length, block.shape[1]), (self.apart * row, row, column)
        return block.as_strided(shape, strides, block.storage_offset() + self.first * row)


class RowRun(NamedTuple):
    """Rows from one rank, each added to another row, all at once."""

    home: int
    targets: StridedRows
    sources: StridedRows | tuple[int, ...]
    """Where the rows lie; single numbers where they must be gathered first."""
    weights: tuple[float, ...]


CALL = 8192
"""Elements that are copied in the time that a call takes beside its arithmetic."""


def schedule(summands: Sequence[Summand], elements: int, recurring: bool) -> list[RowRun]:
    """The cheaper one of two orders, or that which is found sooner where it is used but once.

    `elements`: of each row, that are added at a time.
    """
    runs = by_order(summands, GATHERED // elements)
    return min(runs, by_distance(summands), key=lambda some: _cost(some, elements)) if recurring else runs


def _cost(runs: Sequence[RowRun], elements: int) -> float:
    """How much the calls of these runs, and gathering, take beside arithmetic, in calls."""
    gathered = [len(run.sources) for run in runs if not isinstance(run.sources, StridedRows)]
    return len(runs) + sum(1 + rows * elements / CALL for rows in gathered)


def by_order(summands: Iterable[Summand], most: int) -> list[RowRun]:
    """First everybody's first neighbour, then everybody's second: few calls on any graph, but rows are gathered.

    `most`: rows to be gathered at a time.
    """
    runs: list[RowRun] = []
    ordered = sorted(summands, key=lambda summand: (summand.order, summand.home, summand.target))
    for (_, home), group in groupby(ordered, key=lambda summand: (summand.order, summand.home)):
        for run in _cut(group, lambda before, summand: summand.target == before.target + 1):
            pieces = _cut(run, _adjacent)
            # Two rows are added in as many calls as it takes to gather and add them.
            if len(pieces) <= 2 or most <= 2:
                runs += [_run(home, [piece]) for piece in pieces]
            else:
                runs += [_gathering(home, run[first : first + most]) for first in range(0, len(run), most)]
    return runs


def by_distance(summands: Iterable[Summand]) -> list[RowRun]:
    """First the neighbours furthest below: the diagonals of W, which on rings, lattices and hypercubes are regular."""
    runs: list[RowRun] = []
    ordered = sorted(summands, key=lambda summand: (summand.distance, summand.home, summand.target))
    for (_, home), group in groupby(ordered, key=lambda summand: (summand.distance, summand.home)):
        repeated: list[list[list[Summand]]] = []
        for piece in _cut(group, _adjacent):
            if repeated and _continues(repeated[-1], piece):
                repeated[-1].append(piece)
            else:
                repeated.append([piece])
        runs += [_run(home, pieces) for pieces in repeated]
    return runs


def _cut(summands: Iterable[Summand], together: Callable[[Summand, Summand], bool]) -> list[list[Summand]]:
    """The summands in pieces, within which each one belongs together with the one before."""
    pieces: list[list[Summand]] = []
    for summand in summands:
        if pieces and together(pieces[-1][-1], summand):
            pieces[-1].append(summand)
        else:
            pieces.append([summand])
    return pieces


def _adjacent(before: Summand, summand: Summand) -> bool:
    return (summand.target, summand.source) == (before.target + 1, before.source + 1)


def _continues(pieces: Sequence[Sequence[Summand]], piece: Sequence[Summand]) -> bool:
    """Whether the piece is as long as those, and as far from the last of them as they are from each other."""
    if len(piece) != len(pieces[0]):
        return False
    return len(pieces) == 1 or _apart(pieces[-1], piece) == _apart(pieces[-2], pieces[-1])


def _apart(before: Sequence[Summand], piece: Sequence[Summand]) -> tuple[int, int]:
    return piece[0].target - before[0].target, piece[0].source - before[0].source


def _run(home: int, pieces: Sequence[Sequence[Summand]]) -> RowRun:
    first, length, times = pieces[0][0], len(pieces[0]), len(pieces)
    targets, sources = _apart(pieces[0], pieces[1]) if times > 1 else (0, 0)
    return RowRun(
        home,
        StridedRows(first.target, length, times, targets),
        StridedRows(first.source, length, times, sources),
        _weights([summand for piece in pieces for summand in piece]),
    )


def _gathering(home: int, summands: Sequence[Summand]) -> RowRun:
    targets = StridedRows(summands[0].target, len(summands))
    return RowRun(home, targets, tuple(summand.source for summand in summands), _weights(summands))


def _weights(summands: Iterable[Summand]) -> tuple[float, ...]:
    return tuple(summand.weight for summand in summands)
