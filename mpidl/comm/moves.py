"""Rows from rank to rank: all of them to rank 0 in turn, or items by themselves to wherever they are needed next.

Both sides know every message in advance, and none is longer than MPI can count.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from mpidl.comm.meters import Meters
from mpidl.comm.world import World
from mpidl.errors import CommunicationError
from mpidl.rows import items, new_rows

if TYPE_CHECKING:
    from mpidl.state import State

# MPI counts in 32-bit integers until MPI 4.
LONGEST = 2**30

Item = TypeVar("Item", bound=Hashable)


def pieces(memory: Tensor) -> list[list[Any]]:
    """The bytes of a contiguous tensor on the host in pieces that MPI can count; the caller keeps the tensor alive."""
    if memory.device.type != "cpu" or not memory.is_contiguous():
        raise ValueError(f"a message needs contiguous memory of the host, not of {memory.device}")
    first, size = memory.data_ptr(), memory.nbytes
    return [
        [MPI.buffer.fromaddress(first + begin, min(LONGEST, size - begin)), MPI.BYTE]
        for begin in range(0, size, LONGEST)
    ]


def gather_rows(world: World, block: Tensor, owners: Sequence[int] | None = None) -> Tensor | None:
    """On rank 0 the rows [n, P] of all ranks, as `rows_in_turn` brings them; elsewhere None. A collective call."""
    owners = world.placement.owners if owners is None else owners
    whole = new_rows((len(owners), block.shape[1]), block.dtype, "cpu") if world.rank == 0 else None
    for number, (row,) in enumerate(rows_in_turn(world, [block], owners)):
        if whole is not None:
            whole[number] = row
    return whole


def rows_in_turn(
    world: World, blocks: Sequence[Tensor], owners: Sequence[int] | None = None
) -> Iterator[Sequence[Tensor]]:
    """On rank 0, agent by agent, its row of each block [k, P_b], in the host's memory until the next is asked for.

    On other ranks nothing. `owners[i]` is the rank whose blocks hold row i, ascending; by default the rows are those of
    all agents that are there. No rank needs memory for more than one agent. A collective call: all ranks go on to its
    end.
    """
    owners = world.placement.owners if owners is None else owners
    for block in blocks:
        if len(block) != owners.count(world.rank):
            raise ValueError(f"{len(block)} rows are not the {owners.count(world.rank)} of rank {world.rank}")
    arrived = [new_rows(block.shape[1:], block.dtype, "cpu") for block in blocks] if world.rank == 0 else []
    own = iter(zip(*blocks, strict=True))
    for owner in owners:
        if owner == world.rank:
            rows = [row.detach().to("cpu").contiguous() for row in next(own)]
            if world.rank == 0:
                yield rows
            else:
                parts = [piece for row in rows for piece in pieces(row)]
                for piece in parts:
                    # What MPI takes along before rank 0 asks for it would fill the memory there.
                    world.comm.Ssend(piece, 0)
                world.meters.handed_to_mpi(sum(row.nbytes for row in rows), len(parts))
        elif world.rank == 0:
            for row in arrived:
                for piece in pieces(row):
                    world.comm.Recv(piece, owner)
            yield arrived


def move_items(
    world: World,
    moves: Sequence[tuple[Item, int, int]],
    outgoing: Mapping[Item, Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    meters: Meters | None = None,
) -> dict[Item, Tensor]:
    """The items that reach this rank, in the order of `moves`, each in new memory of the rank's device.

    `moves` are (item, source, target), the same on every rank in the same order; `outgoing` holds at least the items
    that leave this rank, tensors of this shape and dtype. An item whose source is its target is handed on as it is.
    Called by all ranks that a move touches. `meters` count what is sent, by default those of the world.
    """
    meters = meters or world.meters
    arriving: dict[Item, Tensor] = {}
    # MPI knows only addresses: what it reads and writes is kept here until it is done.
    leaving: list[tuple[Tensor, int]] = []
    sources: list[tuple[Tensor, int]] = []
    for item, source, target in moves:
        if source == world.rank:
            tensor = outgoing[item]
            if tensor.shape != torch.Size(shape) or tensor.dtype != dtype:
                raise CommunicationError(
                    f"{item!r} is {tuple(tensor.shape)} {tensor.dtype}, where {tuple(shape)} {dtype} is expected"
                )
            if target == source:
                arriving[item] = tensor
            else:
                leaving.append((tensor.detach().to("cpu").contiguous(), target))
        elif target == world.rank:
            if item in arriving:
                raise CommunicationError(f"{item!r} is moved to rank {target} twice")
            arriving[item] = items(1, shape, dtype, "cpu")[0]
            sources.append((arriving[item], source))
    requests = [world.comm.Irecv(piece, source) for tensor, source in sources for piece in pieces(tensor)]
    for tensor, target in leaving:
        parts = pieces(tensor)
        requests += [world.comm.Isend(piece, target) for piece in parts]
        meters.handed_to_mpi(tensor.nbytes, len(parts))
    MPI.Request.Waitall(requests)
    return {item: tensor.to(world.device) for item, tensor in arriving.items()}


def swap(world: World, target: int, source: int, leaving: Sequence[Tensor], arriving: Sequence[Tensor]) -> None:
    """Send tensors to one rank, and fill those that come from another; all contiguous, in the host's memory.

    Called by all ranks, each of which is the target of one and the source of one.
    """
    requests = [world.comm.Irecv(piece, source) for tensor in arriving for piece in pieces(tensor)]
    for tensor in leaving:
        parts = pieces(tensor)
        requests += [world.comm.Isend(piece, target) for piece in parts]
        world.meters.handed_to_mpi(tensor.nbytes, len(parts))
    MPI.Request.Waitall(requests)


def confirm(world: World, number: int) -> None:
    """Returns once all ranks have called it with this number, of which each is told by messages, or raises an error.

    Unlike a barrier, which returns as if all were there when one has died meanwhile. A collective call.
    """
    distance = 1
    while distance < world.size:
        arrived = torch.full((1,), -1, dtype=torch.int64)
        target, source = (world.rank + distance) % world.size, (world.rank - distance) % world.size
        swap(world, target, source, [torch.tensor([number])], [arrived])
        if int(arrived) != number:
            raise CommunicationError(f"rank {source} has told {int(arrived)} where {number} was expected")
        distance *= 2


class Movers:
    """The ranks of a world as algorithms know them, with the lazy state of agents that other ranks run for a while."""

    def __init__(self, world: World, state: State) -> None:
        self._world, self._state = world, state

    @property
    def rank(self) -> int:
        return self._world.rank

    @property
    def size(self) -> int:
        return self._world.size

    def move(self, moves: Sequence[tuple[int, int, int]]) -> None:
        """Carry the lazy state of agents between ranks: (agent, from, to), the same on all. A collective call."""
        lazy = self._state.lazy
        if not moves or not lazy:
            return
        # Only its rank knows what an agent has touched.
        here = [
            (number, agent)
            for number, held in enumerate(lazy.values())
            for agent, source, _ in moves
            if source == self._world.rank and agent in held
        ]
        touched = self._world.concatenate(np.array(here, dtype=np.float64).reshape(-1, 2))
        exist = {(int(number), int(agent)) for number, agent in touched}
        for number, (name, held) in enumerate(lazy.items()):
            declared = self._state.declarations[name]
            under_way = [move for move in moves if (number, move[0]) in exist]
            leaving = {agent: held.release(agent) for agent, source, _ in under_way if source == self._world.rank}
            arrived = move_items(self._world, under_way, leaving, declared.shape, declared.dtype)
            for agent, value in arrived.items():
                held.adopt(agent, value)
