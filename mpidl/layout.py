"""What lies where in a row: the tensors of a network one behind the other, by name and shape."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


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
