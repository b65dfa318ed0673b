"""What a state is declared to be, and states whose items come into being when they are touched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import torch
from torch import Tensor

from mpidl.rows import items, room
from mpidl.spill import Spill


class Kind(StrEnum):
    """What one item of a state belongs to."""

    ROWS = "rows"  # [agents, P]
    EDGE_ROWS = "edge_rows"  # [edges, P]
    SCALARS = "scalars"  # [agents]
    SERVER = "server"  # [P] or another vector or number, equal on every rank
    FACTORS = "factors"  # [agents, *shape]: low-rank factors of matrices
    BUFFERS = "buffers"  # [agents, B]: statistics that a module keeps beside its parameters


@dataclass(frozen=True)
class Declaration:
    """One state: `total` items of `shape` numbers each over the whole run; this rank holds those in `ids`.

    An id is an agent; for edge rows an index into `edges`, held where the edge starts; for server state it is 0. The
    items of a `lazy` state exist once touched and are `initial` before: a number, or a vector such as x⁰.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: torch.dtype
    initial: float | Tensor
    ids: tuple[int, ...]
    total: int
    lazy: bool = False
    edges: tuple[tuple[int, int], ...] = ()
    end: Literal[0, 1] | None = None
    """Of lazy edge rows, whose ids are i·agents + j: at which end an edge's row is held."""

    @property
    def item_bytes(self) -> int:
        """Memory of an item, up to where the next one begins."""
        return room(1, math.prod(self.shape), self.dtype) if self.shape else self.dtype.itemsize


class LazyItems:
    """Items of a state that come into being when first touched, by id.

    An item exists on one rank at most, the one that ran its agent last: `release` takes it away here, `adopt` puts it
    there. Where there is a `spill`, it says which of them lie in a file.
    """

    def __init__(self, declaration: Declaration, device: torch.device, spill: Spill | None = None) -> None:
        self._declaration, self._device, self._spill = declaration, device, spill
        self._items: dict[int, Tensor] = {}
        self._spilled: dict[int, Tensor | None] = {}
        """The memory of items in a file; None in main memory."""

    def __getitem__(self, item: int) -> Tensor:
        if item not in self._items:
            declared = self._declaration
            value = self._memory(item)
            initial = declared.initial
            self._items[item] = value.copy_(initial) if isinstance(initial, Tensor) else value.fill_(initial)
        return self._items[item]

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def peek(self, item: int, otherwise: Tensor) -> Tensor:
        """The item if it exists here; it does not come into being."""
        return self._items.get(item, otherwise)

    def touched(self) -> list[int]:
        """The ids of the items that exist here, ascending."""
        return sorted(self._items)

    def release(self, item: int) -> Tensor:
        """The value of an item that exists here, which from now on does not."""
        value = self._items.pop(item)
        if self._spill is None:
            return value
        memory = self._spilled.pop(item)
        self._spill.give_back(self._declaration.item_bytes, memory)
        return value if memory is None else value.clone()

    def adopt(self, item: int, value: Tensor) -> None:
        """Hold an item that another rank has released."""
        self[item].copy_(value)

    def _memory(self, item: int) -> Tensor:
        """Memory for an item that is new here."""
        declared = self._declaration
        if self._spill is not None:
            memory = self._spilled[item] = self._spill.take(declared.item_bytes)
            if memory is not None:
                return memory.view(declared.dtype)[: math.prod(declared.shape)].view(declared.shape)
        return items(1, declared.shape, declared.dtype, self._device)[0]


class LazyEdges:
    """Lazy items of directed edges (i, j)."""

    def __init__(self, items: LazyItems, agents: int) -> None:
        self._items, self._agents = items, agents

    def __getitem__(self, edge: tuple[int, int]) -> Tensor:
        start, end = edge
        return self._items[start * self._agents + end]
