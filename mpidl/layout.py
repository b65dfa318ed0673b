"""What lies where in a row, and in the state_dict of a network: plain facts, to be told without a network."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

PARAMETERS, FLOATS, INTEGERS, CONSTANTS = ROWS = ("parameters", "floats", "integers", "constants")
"""The rows that make up a network: what is trained; its buffers, floating and whole; the bytes of all else."""


@dataclass(frozen=True)
class Layout:
    """The tensors of a row, in their order. Plain numbers, so that memory and bytes can be told without a network."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of each tensor."""
        return tuple(map(math.prod, self.shapes))

    @cached_property
    def size(self) -> int:
        """Numbers of a row, P."""
        return sum(self.sizes)

    def pieces(self, row: Tensor) -> Iterator[Tensor]:
        """The flat piece of each tensor of a row [P], or of a block [k, P] along its rows."""
        yield from row.split(self.sizes, dim=-1)


class Entry(NamedTuple):
    """A tensor of a state_dict, and where its numbers begin: in which of ROWS, of constants the byte.

    Tensors that share their numbers begin at the same place. Buffers have a dtype of their own, and a row one for all.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    row: str
    begin: int

    @property
    def size(self) -> int:
        """Numbers of the tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Network:
    """What it takes to build a network by its settings, and to fill it from rows."""

    entries: tuple[Entry, ...]
    example_shape: tuple[int, ...]
    outputs: int

    @property
    def dtype(self) -> str:
        """Of the numbers that are trained, and of the row of floating buffers."""
        return next(entry.dtype for entry in self.entries if entry.row == PARAMETERS)

    def length(self, row: str) -> int:
        """The numbers of one of ROWS, apart from the constants."""
        return max((entry.begin + entry.size for entry in self.entries if entry.row == row), default=0)

    @property
    def nbytes(self) -> int:
        """Of one model, without what all have in common."""
        width = int(self.dtype.removeprefix("float")) // 8
        return width * (self.length(PARAMETERS) + self.length(FLOATS)) + 8 * self.length(INTEGERS)

    def to_json(self) -> str:
        """As text."""
        return json.dumps({"tensors": self.entries, "example_shape": self.example_shape, "outputs": self.outputs})

    @classmethod
    def from_json(cls, text: str) -> Network:
        """From that text; ValueError for any other."""
        told = json.loads(text)
        if not isinstance(told, dict) or told.keys() != {"tensors", "example_shape", "outputs"}:
            raise ValueError("its network is not described as one")
        if not isinstance(told["tensors"], list) or not _sizes([told["outputs"]]) or not _sizes(told["example_shape"]):
            raise ValueError("its network is not described as one")
        network = cls(tuple(map(_entry, told["tensors"])), tuple(told["example_shape"]), told["outputs"])
        if not network.length(PARAMETERS) or network.dtype not in ("float32", "float64"):
            raise ValueError("its network has nothing that is trained")
        return network


def _entry(told: object) -> Entry:
    match told:
        case [str(name), str(dtype), list(shape), str(row), int(begin)] if row in ROWS and _sizes([*shape, begin]):
            return Entry(name, dtype, tuple(shape), row, begin)
    raise ValueError("its tensors have no names and shapes")


def _sizes(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
