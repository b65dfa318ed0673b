"""The part of a sum over agents that needs other ranks: their partial rows, added up as the fixed tree says.

Rank r reads its slice of every partial row in shared memory, or receives it, adds them, and hands its slice of the
result to all. Short rows are added by every rank.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import torch
from mpi4py import MPI

from mpidl.comm.board import Board
from mpidl.comm.meters import Meters
from mpidl.comm.moves import pieces
from mpidl.comm.tree import Cut
from mpidl.comm.world import World

# Below this many bytes of partial rows in all, latency counts and not volume: every rank gets all and adds by itself.
SMALL = 64 * 1024
# In shared memory, below this many bytes of partial rows in all, every rank adds all of them by itself as well; and so
# it does where there are two, of which a half would have to be read again.
READ_BY_ALL = 4 * 2**20
# Elements added at a time, so that what was just added is still in the cache.
CHUNK = 64 * 1024


class Combiner:
    """Adds up rows of `parameters` numbers of one dtype, a few from each rank of a world. Calling it is collective."""

    def __init__(self, world: World, parameters: int, dtype: torch.dtype, meters: Meters, shared: bool) -> None:
        self.world, self.parameters, self.dtype, self.meters = world, parameters, dtype, meters
        # Slices start on cache lines, so that no two ranks write the same one.
        width = -(-parameters // world.size // 64) * 64
        self._bounds = [min(rank * width, parameters) for rank in range(world.size + 1)]
        self._board = Board(world, parameters, dtype, shared)
        self._host: dict[str, torch.Tensor] = {}

    def counting(self, meters: Meters) -> Combiner:
        """The same in the same memory, counted elsewhere."""
        other = copy.copy(self)
        other.meters = meters
        return other

    def __call__(self, partials: list[torch.Tensor], plan: Cut, out: torch.Tensor) -> None:
        """Adds the partial rows of all ranks up into `out`, in main memory; `plan` says which and in what order."""
        if plan.inputs * out.nbytes <= SMALL:
            self._add(self._gather_partials(partials, plan), plan, out)
            return
        begin, end = self._bounds[self.world.rank : self.world.rank + 2]
        by_all = plan.inputs <= 2 or plan.inputs * out.nbytes <= READ_BY_ALL
        if not self._board.fits(plan, results=not by_all):
            self._add(self._scatter_partials(partials, plan), plan, out[begin:end])
            self._gather_slices(out)
            return
        rows = self._board.show(partials, plan)
        if by_all:
            self._add(rows, plan, out)
            return
        self._add([row[begin:end] for row in rows], plan, self._board.result(self.world.rank)[begin:end])
        self.world.barrier()
        for rank, (first, beyond) in enumerate(pairwise(self._bounds)):
            out[first:beyond] = self._board.result(rank)[first:beyond]

    def _gather_partials(self, partials: list[torch.Tensor], plan: Cut) -> list[torch.Tensor]:
        """Every partial row of every rank."""
        own = torch.stack(partials) if partials else torch.empty(0, dtype=self.dtype)
        rows = torch.empty(plan.inputs, self.parameters, dtype=self.dtype)
        counts = [len(nodes) * rows[0].nbytes for nodes in plan.nodes]
        self.world.comm.Allgatherv([_bytes(own), MPI.BYTE], [_bytes(rows), counts, MPI.BYTE])
        self.meters.handed_to_mpi(own.nbytes)
        return list(rows)

    def _scatter_partials(self, partials: list[torch.Tensor], plan: Cut) -> list[torch.Tensor]:
        """This rank's slice of every partial row of every rank."""
        bounds, rank = self._bounds, self.world.rank
        width = bounds[rank + 1] - bounds[rank]
        others = plan.inputs - len(partials)
        received = iter(self._buffer("received", others * width).view(others, width))
        slices: list[torch.Tensor] = []
        requests: list[MPI.Request] = []
        for source, nodes in enumerate(plan.nodes):
            if source == rank:
                slices += [row[bounds[rank] : bounds[rank + 1]] for row in partials]
                continue
            for _ in nodes:
                slices.append(next(received))
                requests += self._receive(slices[-1], source)
        for step in range(1, self.world.size):
            # Everyone starts with another target, so that no rank is flooded first.
            target = (rank + step) % self.world.size
            for row in partials:
                requests += self._send(row[bounds[target] : bounds[target + 1]], target)
        MPI.Request.Waitall(requests)
        return slices

    def _gather_slices(self, out: torch.Tensor) -> None:
        """Completes `out`, of which each rank has computed its slice."""
        bounds, rank = self._bounds, self.world.rank
        requests: list[MPI.Request] = []
        for step in range(1, self.world.size):
            source = (rank - step) % self.world.size
            requests += self._receive(out[bounds[source] : bounds[source + 1]], source)
        for step in range(1, self.world.size):
            requests += self._send(out[bounds[rank] : bounds[rank + 1]], (rank + step) % self.world.size)
        MPI.Request.Waitall(requests)

    def _send(self, part: torch.Tensor, target: int) -> list[MPI.Request]:
        messages = pieces(part)
        self.meters.handed_to_mpi(part.nbytes, len(messages))
        return [self.world.comm.Isend(message, target) for message in messages]

    def _receive(self, part: torch.Tensor, source: int) -> list[MPI.Request]:
        return [self.world.comm.Irecv(message, source) for message in pieces(part)]

    def _add(self, inputs: list[torch.Tensor], plan: Cut, out: torch.Tensor) -> None:
        """Adds up what all ranks have, a chunk at a time."""
        if not plan.additions:
            out.copy_(inputs[0])
            return
        spare = plan.registers - plan.inputs
        scratch = self._buffer("scratch", spare * CHUNK).view(spare, CHUNK)
        for begin in range(0, len(out), CHUNK):
            end = min(begin + CHUNK, len(out))
            values = [part[begin:end] for part in inputs] + [part[: end - begin] for part in scratch]
            values[plan.root] = out[begin:end]
            for target, left, right in plan.additions:
                torch.add(values[left], values[right], out=values[target])

    def _buffer(self, name: str, elements: int) -> torch.Tensor:
        """Host memory that is kept from one sum to the next: its first touch costs as much as the sum itself."""
        if name not in self._host or len(self._host[name]) < elements:
            self._host[name] = torch.empty(elements, dtype=self.dtype)
        return self._host[name][:elements]


def _bytes(part: torch.Tensor) -> np.ndarray:
    return part.detach().view(torch.uint8).numpy()
