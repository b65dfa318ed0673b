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

from mpidl.comm.board import PLACES, Board, length_of
from mpidl.comm.meters import Meters
from mpidl.comm.moves import pieces
from mpidl.comm.tree import Cut
from mpidl.comm.world import World

# Below this many bytes of partial rows in all, latency counts and not volume: every rank gets all and adds by itself.
SMALL = 64 * 1024
# In shared memory, below this many bytes of partial rows in all, every rank adds all of them by itself as well; and so
# it does where there are two, of which a half would have to be read again.
READ_BY_ALL = 2 * 2**20
# Elements added at a time, so that what was just added is still in the cache.
CHUNK = 64 * 1024


class Combiner:
    """Adds up rows of `parameters` numbers of one dtype, a few from each rank of a world. Calling it is collective."""

    def __init__(self, world: World, parameters: int, dtype: torch.dtype, meters: Meters, shared: bool) -> None:
        self.world, self.parameters, self.dtype, self.meters = world, parameters, dtype, meters
        self._bounds = _bounds(parameters, world.size)
        self._shared = shared
        self._host: dict[str, torch.Tensor] = {}

    def counting(self, meters: Meters) -> Combiner:
        """The same in the same memory, counted elsewhere."""
        other = copy.copy(self)
        other.meters = meters
        return other

    def __call__(self, partials: list[torch.Tensor], tree: Cut, out: torch.Tensor) -> None:
        """Adds the partial rows of all ranks up into `out`, in main memory; `tree` says which and in what order."""
        board, rows = self._board, max(map(len, tree.nodes)) + 1
        if board is not None and length_of(rows, self.dtype):
            self._by_memory(board, partials, tree, out)
        elif tree.inputs * out.nbytes <= SMALL:
            self._add(self._gather_partials(partials, tree), tree, out)
        else:
            begin, end = self._bounds[self.world.rank : self.world.rank + 2]
            self._add(self._scatter_partials(partials, tree), tree, out[begin:end])
            self._gather_slices(out)

    @property
    def transport(self) -> str:
        """How partial rows travel between ranks. At first use a collective call."""
        return "messages" if self._board is None else "shared memory"

    @property
    def warning(self) -> str:
        """Why ranks of one node share no memory, where they should; else empty. At first use a collective call."""
        board = self.world.board if self._shared else None
        return f"sums go by messages, not through shared memory: {board.failure}" if board and board.failure else ""

    @property
    def _board(self) -> Board | None:
        board = self.world.board if self._shared else None
        return None if board is None or board.failure else board

    # In shared memory.

    def _by_memory(self, board: Board, partials: list[torch.Tensor], tree: Cut, out: torch.Tensor) -> None:
        """A piece of all rows after another, each shown in one turn and added in the next, with a barrier between.

        Every rank adds the whole piece; or each adds its slice, and collects those of the others in the turn after.
        """
        by_all = tree.inputs <= 2 or tree.inputs * out.nbytes <= READ_BY_ALL
        # The last row of a place is then for the slice of the sum.
        rows = max(map(len, tree.nodes)) + (not by_all)
        places, turn = board.places(rows, self.dtype), board.turn
        parts = out.split(length_of(rows, self.dtype))
        shown = [row.split(len(parts[0])) for row in partials]
        last = len(parts) if by_all else len(parts) + 1
        for step in range(last + 1):
            if step > 1 and not by_all:
                self._collect(places[(turn + step) % PLACES], parts[step - 2])
            if 0 < step <= len(parts):
                self._add_shown(places[(turn + step - 1) % PLACES], tree, parts[step - 1], by_all)
            if step < len(parts):
                for row, place in zip(shown, places[(turn + step) % PLACES][self.world.rank], strict=False):
                    place[: len(row[step])].copy_(row[step])
            if step < last:
                self.world.barrier()
        # The next sum begins in the place that nobody may be reading still.
        board.turn = turn + len(parts)

    def _add_shown(self, places: list[torch.Tensor], tree: Cut, piece: torch.Tensor, by_all: bool) -> None:
        """Adds up what all ranks show of a piece, into it; or this rank's slice, for the others to collect."""
        begin, end, target, rank = 0, len(piece), piece, self.world.rank
        if not by_all:
            begin, end = _bounds(len(piece), self.world.size)[rank : rank + 2]
            target = places[rank][-1, begin:end]
        inputs = [
            place[row, begin:end] for place, nodes in zip(places, tree.nodes, strict=True) for row in range(len(nodes))
        ]
        self._add(inputs, tree, target)
        self.meters.bytes_shared += (tree.inputs - len(tree.nodes[rank])) * target.nbytes

    def _collect(self, places: list[torch.Tensor], piece: torch.Tensor) -> None:
        """The slices of a piece that the ranks have added."""
        for source, (begin, end) in enumerate(pairwise(_bounds(len(piece), self.world.size))):
            piece[begin:end] = places[source][-1, begin:end]
            if source != self.world.rank:
                self.meters.bytes_shared += (end - begin) * piece.itemsize

    # By messages.

    def _gather_partials(self, partials: list[torch.Tensor], tree: Cut) -> list[torch.Tensor]:
        """Every partial row of every rank."""
        own = torch.stack(partials) if partials else torch.empty(0, dtype=self.dtype)
        rows = torch.empty(tree.inputs, self.parameters, dtype=self.dtype)
        counts = [len(nodes) * rows[0].nbytes for nodes in tree.nodes]
        self.world.comm.Allgatherv([_bytes(own), MPI.BYTE], [_bytes(rows), counts, MPI.BYTE])
        self.meters.handed_to_mpi(own.nbytes)
        return list(rows)

    def _scatter_partials(self, partials: list[torch.Tensor], tree: Cut) -> list[torch.Tensor]:
        """This rank's slice of every partial row of every rank."""
        bounds, rank = self._bounds, self.world.rank
        width = bounds[rank + 1] - bounds[rank]
        others = tree.inputs - len(partials)
        received = iter(self._buffer("received", others * width).view(others, width))
        slices: list[torch.Tensor] = []
        requests: list[MPI.Request] = []
        for source, nodes in enumerate(tree.nodes):
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

    def _add(self, inputs: list[torch.Tensor], tree: Cut, out: torch.Tensor) -> None:
        """Adds up what all ranks have, a chunk at a time."""
        if not tree.additions:
            out.copy_(inputs[0])
            return
        spare = tree.registers - tree.inputs
        scratch = self._buffer("scratch", spare * CHUNK).view(spare, CHUNK)
        for begin in range(0, len(out), CHUNK):
            end = min(begin + CHUNK, len(out))
            values = [part[begin:end] for part in inputs] + [part[: end - begin] for part in scratch]
            values[tree.root] = out[begin:end]
            for target, left, right in tree.additions:
                torch.add(values[left], values[right], out=values[target])

    def _buffer(self, name: str, elements: int) -> torch.Tensor:
        """Host memory that is kept from one sum to the next: its first touch costs as much as the sum itself."""
        if name not in self._host or len(self._host[name]) < elements:
            self._host[name] = torch.empty(elements, dtype=self.dtype)
        return self._host[name][:elements]


def _bytes(part: torch.Tensor) -> np.ndarray:
    return part.detach().view(torch.uint8).numpy()


def _bounds(length: int, ranks: int) -> list[int]:
    """Where each rank's slice of a row begins: on a line of the cache, so that no two ranks write the same one."""
    each = -(-length // ranks // 64) * 64
    return [min(rank * each, length) for rank in range(ranks + 1)]
