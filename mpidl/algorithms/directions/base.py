"""What a direction is: settings, and a function of them. What it remembers is kept by the caller."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mpidl.registry import Part

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.layout import Layout


class Direction(Part, ABC):
    """d = direction(g), so that a step is x − ηd. Local to whoever steps, never mixed."""

    @property
    def remembers(self) -> tuple[str, ...]:
        """Names of what must be kept between steps: a row or block shaped like the gradient each, zero at first."""
        return ()

    @abstractmethod
    def along(self, g: Tensor, x: Tensor, memory: Mapping[str, Tensor], step: int, lr: float, layout: Layout) -> Tensor:
        """The direction at x, row or block, where the gradient is g, after so many steps, at the learning rate η = lr.

        It may use up g, and may lie in it or in `memory`; it is valid until the next call.
        """
