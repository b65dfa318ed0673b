"""The part of a sum over agents that needs other ranks: their partial rows, added up as the fixed tree says.

Rank r reads its slice of every partial row where it lies in shared memory, or receives it, adds them, and hands its
slice of the result to all. Short rows are added by every rank.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from mpi4py import MPI

from mpidl.comm.board import Board
from mpidl.comm.meters import Meters
from mpidl.comm.moves import pieces
from mpidl.comm.tree import Cut
from mpidl.comm.world import World
from mpidl.rows import new_rows

log = logging.getLogger("mpidl.comm")

# Below this many bytes of partial rows in all, latency counts and not volume: every rank gets all and adds by itself.
SMALL = 64 * 1024
# Elements added at a time, so that what was just added is still in the cache.
CHUNK = 32 * 1024


Addition = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""What is added, and into what."""


@dataclass(frozen=True)
class Places:
    """Where the partial rows of a sum lie in shared memory: of every rank for all to read, and `mine` to write.

    `additions`: this rank's of its slice of them into `total`, which all ranks write together; both are absent where
    every rank adds up all of them.
    """

    tree: Cut
    inputs: list[torch.Tensor]
    mine: list[torch.Tensor]
    total: torch.Tensor | None
    additions: list[Addition]


class Combiner:
    """Adds up rows of `parameters` numbers of one dtype, a few from each rank of a world. Calling it is collective."""

    def __init__(self, world: World, parameters: int, dtype: torch.dtype, shared: bool) -> None:
        self.world, self.parameters, self.dtype = world, parameters, dtype
        self._bounds = _bounds(parameters, world.size)
        possible = world.device.type == "cpu" and 1 < world.size == len(world.node_ranks)
        self._board = Board(world.comm, parameters, dtype) if shared and possible else None
        self._latest: Places | None = None
        self._told = False
        """Whether somebody knows that there is no room for shared memory."""
        self._host: dict[str, torch.Tensor] = {}

    def own(self) -> torch.Tensor:
        """The row from which a sum takes what is the only position of a node, without a copy. A collective call."""
        own = self._own_shared()
        return own[0] if own else new_rows((self.parameters,), self.dtype, self.world.device)

    def places(self, tree: Cut) -> Places | None:
        """Where this sum's partial rows are to lie, for all ranks to read; None where they travel by messages.

        The last of this rank's is `own` where the tree says `sole`. A collective call.
        """
        if self._latest is None or self._latest.tree is not tree:
            self._latest = self._placed(tree)
            if self._failure and not self._told:
                self._told = True
                if self.world.rank == 0:
                    log.warning("%s", self._failure)
        return self._latest

    def __call__(
        self, partials: list[torch.Tensor], places: Places | None, tree: Cut, out: torch.Tensor, meters: Meters
    ) -> None:
        """Adds the partial rows of all ranks up into `out`, in main memory; `tree` says which and in what order.

        They lie in `places`, where there are such.
        """
        if places is not None:
            self._by_memory(places, out, meters)
        elif tree.inputs * out.nbytes <= SMALL:
            self._add(self._gather_partials(partials, tree, meters), tree, out)
        else:
            begin, end = self._bounds[self.world.rank : self.world.rank + 2]
            self._add(self._scatter_partials(partials, tree, meters), tree, out[begin:end])
            self._gather_slices(out, meters)

    @property
    def transport(self) -> str:
        """How partial rows travel between ranks. At first use a collective call."""
        self._own_shared()
        return "messages" if self._board is None or self._board.failure else "shared memory"

    @property
    def warning(self) -> str:
        """Why ranks of one node share no memory, where they should; else empty. At first use a collective call."""
        self._own_shared()
        self._told = bool(self._failure)
        return self._failure

    # In shared memory.

    @property
    def _failure(self) -> str:
        """What `warning` says, as far as it is known."""
        failure = "" if self._board is None else self._board.failure
        return failure and f"sums go by messages, not through shared memory: {failure}"

    def _own_shared(self) -> list[torch.Tensor]:
        """What `own` gives, if ranks share memory; else nothing. A collective call."""
        if self._board is None:
            return []
        # It may move, as in `_placed`.
        self._latest = None
        return self._board.rows("own", [1] * self.world.size)[self.world.rank]

    def _placed(self, tree: Cut) -> Places | None:
        board, shares = self._board, list(zip(tree.nodes, tree.sole, strict=True))
        if board is None or board.failure:
            return None
        # What lay there before may move, and is freed only once nobody refers to it.
        self._latest = None
        partial = board.rows("partial", [len(nodes) - sole for nodes, sole in shares])
        own = board.rows("own", tree.sole)
        # Of two rows every rank adds all: of a slice it would write the sum, and read the other's.
        by_all = tree.inputs <= 2
        total = [] if by_all else board.rows("total", [1] + [0] * (self.world.size - 1))[0]
        if self._failure:
            return None
        of_rank = [partial[rank][: len(nodes) - sole] + own[rank][:sole] for rank, (nodes, sole) in enumerate(shares)]
        inputs, mine = list(chain.from_iterable(of_rank)), of_rank[self.world.rank]
        if by_all:
            return Places(tree, inputs, mine, None, [])
        begin, end = self._bounds[self.world.rank : self.world.rank + 2]
        additions = self._additions([row[begin:end] for row in inputs], tree, total[0][begin:end])
        return Places(tree, inputs, mine, total[0], list(additions))

    def _by_memory(self, places: Places, out: torch.Tensor, meters: Meters) -> None:
        others, total = len(places.inputs) - len(places.mine), places.total
        self.world.barrier()
        if total is None:
            self._add(places.inputs, places.tree, out)
            self.world.barrier()
            meters.bytes_shared += others * out.nbytes
            return
        for left, right, target in places.additions:
            torch.add(left, right, out=target)
        # Who writes to the total again has passed the first barrier of that sum, which waits until all have read this.
        self.world.barrier()
        out.copy_(total)
        begin, end = self._bounds[self.world.rank : self.world.rank + 2]
        meters.bytes_shared += out.nbytes + (others - 1) * (end - begin) * out.itemsize

    # By messages.

    def _gather_partials(self, partials: list[torch.Tensor], tree: Cut, meters: Meters) -> list[torch.Tensor]:
        """Every partial row of every rank."""
        own = torch.stack(partials) if partials else torch.empty(0, dtype=self.dtype)
        rows = torch.empty(tree.inputs, self.parameters, dtype=self.dtype)
        counts = [len(nodes) * rows[0].nbytes for nodes in tree.nodes]
        self.world.comm.Allgatherv([_bytes(own), MPI.BYTE], [_bytes(rows), counts, MPI.BYTE])
        meters.handed_to_mpi(own.nbytes)
        return list(rows)

    def _scatter_partials(self, partials: list[torch.Tensor], tree: Cut, meters: Meters) -> list[torch.Tensor]:
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
                requests += self._send(row[bounds[target] : bounds[target + 1]], target, meters)
        MPI.Request.Waitall(requests)
        return slices

    def _gather_slices(self, out: torch.Tensor, meters: Meters) -> None:
        """Completes `out`, of which each rank has computed its slice."""
        bounds, rank = self._bounds, self.world.rank
        requests: list[MPI.Request] = []
        for step in range(1, self.world.size):
            source = (rank - step) % self.world.size
            requests += self._receive(out[bounds[source] : bounds[source + 1]], source)
        for step in range(1, self.world.size):
            requests += self._send(out[bounds[rank] : bounds[rank + 1]], (rank + step) % self.world.size, meters)
        MPI.Request.Waitall(requests)

    def _send(self, part: torch.Tensor, target: int, meters: Meters) -> list[MPI.Request]:
        messages = pieces(part)
        meters.handed_to_mpi(part.nbytes, len(messages))
        return [self.world.comm.Isend(message, target) for message in messages]

    def _receive(self, part: torch.Tensor, source: int) -> list[MPI.Request]:
        return [self.world.comm.Irecv(message, source) for message in pieces(part)]

    def _add(self, inputs: list[torch.Tensor], tree: Cut, out: torch.Tensor) -> None:
        """Adds up what all ranks have."""
        if len(inputs) == 1:
            out.copy_(inputs[0])
        elif len(inputs) == 2:
            torch.add(inputs[0], inputs[1], out=out)
        else:
            for left, right, target in self._additions(inputs, tree, out):
                torch.add(left, right, out=target)

    def _additions(self, inputs: list[torch.Tensor], tree: Cut, out: torch.Tensor) -> Iterator[Addition]:
        """What adds them up, a chunk at a time."""
        spare = tree.registers - tree.inputs
        scratch = self._buffer("scratch", spare * CHUNK).view(spare, CHUNK)
        for begin in range(0, len(out), CHUNK):
            end = min(begin + CHUNK, len(out))
            values = [part[begin:end] for part in inputs] + [part[: end - begin] for part in scratch]
            values[tree.root] = out[begin:end]
            for target, left, right in tree.additions:
                yield values[left], values[right], values[target]

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
