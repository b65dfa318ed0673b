"""Sums of rows over agents, the same bits on every rank, however many ranks there are and whoever runs which agent.

Each rank sums what it can alone as the rows come, keeping O(log n) partial rows, where the other ranks can read them
if they share memory. The rest is a reduce-scatter and an allgather made by hand (`combine.py`), in the order of the
fixed tree (`tree.py`). MPI's own allreduce chooses its order by size, placement and version.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from mpi4py import MPI

from mpidl.comm.combine import Combiner, Places
from mpidl.comm.meters import Meters
from mpidl.comm.tree import Cut, cut
from mpidl.comm.world import World
from mpidl.errors import CommunicationError

# Numbers that MPI's own sum is given at a time: it counts in 32-bit integers.
LONGEST_SUM = 2**27

_cut = lru_cache(maxsize=32)(cut)


class Reducer:
    """Sums rows of `parameters` numbers of one dtype over the agents of a world."""

    def __init__(
        self,
        world: World,
        parameters: int,
        dtype: torch.dtype,
        deterministic: bool = True,
        meters: Meters | None = None,
        shared: bool = True,
    ) -> None:
        """`shared`: through shared memory, where all ranks are on one node and rows in main memory."""
        self.world = world
        self.parameters = parameters
        self.dtype = dtype
        self.deterministic = deterministic
        self._shared = shared
        self.meters = meters or world.meters
        self._spare: list[torch.Tensor] = []
        self._lent: dict[int, torch.Tensor] = {}
        """Of the rows of the present sum, by identity, those that are ours."""
        self._host: dict[str, torch.Tensor] = {}
        self._combiner = Combiner(world, parameters, dtype, shared)
        self._wide: dict[int, Reducer] = {}
        """By a number of rows, what sums that many at once."""

    @property
    def transport(self) -> str:
        """How sums are made between ranks. At first use a collective call."""
        if self.world.size == 1:
            return "none"
        return self._combiner.transport if self.deterministic else "MPI's own"

    @property
    def warning(self) -> str:
        """Why ranks of one node share no memory, where they should; else empty. At first use a collective call."""
        return self._combiner.warning if self.deterministic else ""

    def counting(self, meters: Meters) -> Reducer:
        """The same sums, in the same memory, counted elsewhere: the two are used by turns."""
        other = copy.copy(self)
        other.meters = meters
        other._lent, other._wide = {}, {}
        return other

    def memory(self, rows: int | None = None) -> torch.Tensor:
        """A row, or so many [rows, P], to yield to `sum`: where ranks share memory, it takes them from here uncopied.

        Other calls may give the same memory, and any other will do as well. A collective call.
        """
        if rows is not None:
            return self._reducer_of(rows).memory().view(rows, -1)
        return self._combiner.own() if self.deterministic else self._device_row()

    def sum(
        self,
        leaves: Iterable[tuple[int, torch.Tensor]],
        positions: int,
        owners: Sequence[int],
        out: torch.Tensor | None = None,
        rows: int | None = None,
    ) -> torch.Tensor:
        """Σ of one row for each position below `positions`, on every rank; a collective call.

        `owners[p]` is the rank that yields (p, row) for position p, known to all ranks; each rank yields its own in
        ascending order, and may overwrite a row once the next one is asked for. With `rows`, a
        position has so many at once, as [rows, P], and so has the result. That is `out`, which shares no memory with a
        row, or a new tensor.
        """
        if positions != len(owners):
            raise ValueError(f"{len(owners)} owners for {positions} positions")
        if rows is not None:
            flat = ((position, row.reshape(-1)) for position, row in leaves)
            whole = None if out is None else out.view(-1)
            return self._reducer_of(rows).sum(flat, positions, owners, whole).view(rows, -1)
        pairs = iter(leaves)
        mine = [position for position, owner in enumerate(owners) if owner == self.world.rank]
        tree = _cut(tuple(owners), self.world.size) if positions else None
        if out is None:
            out = self._device_row()
        if tree is None:
            out.zero_()
        elif self.deterministic:
            alone = self.world.size == 1
            places = None if alone else self._combiner.places(tree)
            mine_shown = [out] if alone else [] if places is None else places.mine
            partials = self._partials(self._checked(pairs, mine), tree.nodes[self.world.rank], positions, mine_shown)
            if not alone:
                with self.meters.time("reduction"):
                    self._combine(partials, places, tree, out)
        else:
            self._library_sum(self._checked(pairs, mine), out)
        self._spare += self._lent.values()
        self._lent.clear()
        if next(pairs, None) is not None:
            raise CommunicationError(f"rank {self.world.rank} yields more rows than its {len(mine)} positions")
        return out

    def gather(
        self, values: np.ndarray, agents: Sequence[int] | None = None, owners: Sequence[int] | None = None
    ) -> np.ndarray:
        """The values [k, m] that this rank holds as [n, m] of all ranks, in the order of `agents`; a collective call.

        `agents`, ascending, are those that there are values of, by default all; `owners[i]` is the rank that holds the
        values of `agents[i]`, by default the one that the placement says. A rank gives its own in the same order.
        """
        placement = self.world.placement
        if owners is None:
            owners = placement.owners if agents is None else [placement.owner(agent) for agent in agents]
        if agents is not None and len(agents) != len(owners):
            raise ValueError(f"{len(owners)} owners for {len(agents)} agents")
        values = np.ascontiguousarray(values, dtype=np.float64)
        counts = np.bincount(owners, minlength=self.world.size)
        if values.ndim != 2 or len(values) != counts[self.world.rank]:
            raise ValueError(f"{values.shape} are not the values of {counts[self.world.rank]} agents")
        width = values.shape[1]
        by_rank = np.empty((len(owners), width))
        self.world.comm.Allgatherv([values, MPI.DOUBLE], [by_rank, (counts * width).tolist(), MPI.DOUBLE])
        self.meters.handed_to_mpi(values.nbytes)
        ordered = np.empty_like(by_rank)
        ordered[np.argsort(owners, kind="stable")] = by_rank
        return ordered

    # The part of the sum that needs no other rank.

    def _checked(self, pairs: Iterator[tuple[int, torch.Tensor]], mine: list[int]) -> Iterator[torch.Tensor]:
        """One row for each of this rank's positions; stops at the last, so that nothing overwrites it."""
        for expected in mine:
            pair = next(pairs, None)
            if pair is None or pair[0] != expected:
                what = "no row" if pair is None else f"a row for position {pair[0]}"
                raise CommunicationError(f"rank {self.world.rank} yields {what} where position {expected} is due")
            row = pair[1]
            if row.shape != (self.parameters,) or row.dtype != self.dtype:
                # As bytes of a message it would be other numbers.
                raise CommunicationError(
                    f"rank {self.world.rank} yields {tuple(row.shape)} {row.dtype} for position {expected}, where "
                    f"{(self.parameters,)} {self.dtype} is due"
                )
            yield row

    def _partials(
        self,
        rows: Iterator[torch.Tensor],
        nodes: Sequence[tuple[int, int]],
        positions: int,
        places: Sequence[torch.Tensor],
    ) -> list[torch.Tensor]:
        """The values of this rank's nodes, in order, each in its place.

        Where there are no places, the last may be the caller's own row: it stays as it is meanwhile.
        """
        partials: list[torch.Tensor] = []
        waiting: list[torch.Tensor] = []
        for number, (top_level, top_index) in enumerate(nodes):
            place = places[number] if places else None
            first, beyond = top_index << top_level, min((top_index + 1) << top_level, positions)
            for position in range(first, beyond):
                value = next(rows)
                with self.meters.time("reduction"):
                    level, index = 0, position
                    while level < top_level:
                        if index % 2:
                            # The left half waits in memory of ours; that of the right half serves the next to wait.
                            right, value = value, waiting.pop()
                            value.add_(right)
                            self._release(right)
                        elif (index + 1) << level < positions:
                            # What waits first grows to be the value of the node.
                            waiting.append(self._keep(value, None if waiting else place))
                            break
                        level, index = level + 1, index // 2
                    else:
                        its_own = place is None and number == len(nodes) - 1
                        partials.append(value if its_own else self._keep(value, place))
        return partials

    def _keep(self, value: torch.Tensor, place: torch.Tensor | None) -> torch.Tensor:
        """The value in memory that lasts until the end of the sum: in this place, or where we choose."""
        if place is not None:
            return value if value.data_ptr() == place.data_ptr() else place.copy_(value)
        if id(value) in self._lent:
            return value
        own = self._spare.pop() if self._spare else torch.empty_like(value)
        self._lent[id(own)] = own
        return own.copy_(value)

    def _release(self, value: torch.Tensor) -> None:
        """Has the memory of a value serve others, if it is ours."""
        if self._lent.pop(id(value), None) is not None:
            self._spare.append(value)

    # The part that does.

    def _combine(self, partials: list[torch.Tensor], places: Places | None, tree: Cut, out: torch.Tensor) -> None:
        if out.device.type != "cpu":
            staged = [self._pinned(f"partial {n}", self.parameters).copy_(row) for n, row in enumerate(partials)]
            result = self._pinned("result", self.parameters)
            self._combiner(staged, places, tree, result, self.meters)
            out.copy_(result)
        else:
            self._combiner(partials, places, tree, out, self.meters)

    def _library_sum(self, rows: Iterator[torch.Tensor], out: torch.Tensor) -> None:
        """MPI's allreduce: the order of additions, and so the last bits, are the library's."""
        out.zero_()
        for row in rows:
            with self.meters.time("reduction"):
                out.add_(row)
        if self.world.size == 1:
            return
        with self.meters.time("reduction"):
            # MPI has no 16-bit floats, and sums of many would lose too much in them.
            wide = torch.float64 if self.dtype == torch.float64 else torch.float32
            host = out if out.dtype == wide and out.device.type == "cpu" else out.to("cpu", wide)
            datatype = MPI.DOUBLE if wide == torch.float64 else MPI.FLOAT
            numbers = host.numpy()
            for begin in range(0, len(numbers), LONGEST_SUM):
                self.world.comm.Allreduce(MPI.IN_PLACE, [numbers[begin : begin + LONGEST_SUM], datatype])
            self.meters.handed_to_mpi(host.nbytes)
            if host is not out:
                out.copy_(host)

    def _reducer_of(self, rows: int) -> Reducer:
        """What sums so many rows at once."""
        if rows == 1:
            return self
        if rows not in self._wide:
            size = rows * self.parameters
            self._wide[rows] = Reducer(self.world, size, self.dtype, self.deterministic, self.meters, self._shared)
        return self._wide[rows]

    def _device_row(self) -> torch.Tensor:
        return torch.empty(self.parameters, dtype=self.dtype, device=self.world.device)

    def _pinned(self, name: str, elements: int) -> torch.Tensor:
        """As `_buffer`, but page-locked: a GPU copies into it at the full speed of the bus."""
        if name not in self._host:
            self._host[name] = torch.empty(elements, dtype=self.dtype, pin_memory=True)
        return self._host[name]
