"""The state of a rank as a checkpoint takes it: where it lies, or copied, so that training may go on meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpidl.declarations import Kind
from mpidl.results.checkpoints.index import stored_as
from mpidl.results.checkpoints.parts import Held

if TYPE_CHECKING:
    import numpy as np

    from mpidl.declarations import Declaration
    from mpidl.state import State


def in_place(state: State, rank: int) -> list[Held]:
    """All states as they are while they are written, a row at a time."""
    return [_held(declared, ids, values) for declared, ids, values in _parts(state, rank)]


class StateCopies:
    """Memory of the host for copies of all states that are there from the beginning; of lazy ones it is taken anew."""

    def __init__(self, state: State, rank: int) -> None:
        self._state, self._rank = state, rank
        # Filled, so that the first copy does not wait for pages of memory.
        self._memory = {
            declared.name: torch.full((len(ids), *declared.shape), 0, dtype=declared.dtype)
            for declared, ids, _ in _parts(state, rank)
            if not declared.lazy
        }

    @property
    def nbytes(self) -> int:
        """Of what is kept from one checkpoint to the next."""
        return sum(memory.nbytes for memory in self._memory.values())

    def take(self) -> list[Held]:
        """All states as they are now."""
        return [_held(declared, ids, [values]) for declared, ids, values in self.tensors()]

    def tensors(self) -> Iterator[tuple[Declaration, tuple[int, ...], Tensor]]:
        """The same: each state with the ids of the items held here, and their values [len(ids), *shape]."""
        for declared, ids, values in _parts(self._state, self._rank):
            memory = self._memory.get(declared.name)
            if memory is None:
                memory = torch.empty((len(ids), *declared.shape), dtype=declared.dtype)
            for copy, value in zip(memory if declared.shape or declared.lazy else [memory], values, strict=True):
                copy.copy_(value)
            yield declared, ids, memory


def _parts(state: State, rank: int) -> Iterator[tuple[Declaration, tuple[int, ...], Iterable[Tensor]]]:
    """What this rank saves: of what all ranks hold alike, rank 0 has it all."""
    for declared, ids, values in state.held():
        if declared.kind is Kind.SERVER and rank:
            empty = torch.empty((0, *declared.shape), dtype=declared.dtype)
            yield declared, (), empty if declared.shape else [empty]
        else:
            yield declared, ids, values


def _held(declared: Declaration, ids: tuple[int, ...], values: Iterable[Tensor]) -> Held:
    stored, dtype = stored_as(declared.dtype), str(declared.dtype).removeprefix("torch.")
    pieces = (_bits(value, stored) for value in values)
    return Held(declared.name, ids, declared.shape, dtype, torch.empty(0, dtype=stored).numpy().dtype, pieces)


def _bits(value: Tensor, stored: torch.dtype) -> np.ndarray:
    return value.detach().cpu().contiguous().view(stored).numpy()
