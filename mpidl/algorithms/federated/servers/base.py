"""The server's step on Δ = Σ p_i Δ_i, the mean displacement of the agents: x ← x + η_s direction(Δ).

[Reddi et al. 2021, Algorithm 2]. There is no bias correction; v starts at τ². What a server remembers is kept by the
method that it serves, which may also step along a direction whose statistics stay as they are (Mime).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from mpidl.registry import Part

if TYPE_CHECKING:
    from torch import Tensor


class Server(Part, ABC):
    """A rule by which the server moves. Δ points to where it should go, as minus a gradient does."""

    lr: float = Field(1.0, gt=0, description="server learning rate η_s; 1 with sgd is plain averaging")

    @property
    def remembers(self) -> dict[str, float]:
        """By name the vectors [P] that must be kept from round to round, with what they are filled with at first."""
        return {}

    def learn(self, d: Tensor, memory: Mapping[str, Tensor]) -> None:
        """Have the statistics take in a displacement."""

    @abstractmethod
    def direction(self, d: Tensor, memory: Mapping[str, Tensor]) -> Tensor:
        """The direction of a step once the statistics have taken in d; it may be `d` or lie in `memory`."""

    @abstractmethod
    def frozen(self, d: Tensor, memory: Mapping[str, Tensor]) -> Tensor:
        """The direction of a step along d from statistics that have not taken it in, and do not: a new vector, or d."""
