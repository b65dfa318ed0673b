"""What federated algorithms share: one replicated server model, and weighted sums over agents."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mpidl.algorithms.base import Algorithm, AlgorithmSettings, Surroundings

if TYPE_CHECKING:
    from torch import Tensor


class FederatedSettings(AlgorithmSettings):
    """What every federated algorithm can be told."""

    weighting: Literal["uniform", "data"] = Field(
        "uniform", description="the weights p_i of every average over agents: equal, or by the size of their data"
    )


class Federated(Algorithm):
    """A server vector x, equal on every rank, moves by sums over agents.

    A subclass writes `round(x)`, which changes x in place.
    """

    Settings = FederatedSettings
    settings: FederatedSettings
    models: ClassVar[tuple[str, ...]] = ("server",)
    uploads: ClassVar[int] = 1
    downloads: ClassVar[int] = 1
    """Rows that an agent sends to the server, and receives from it, in a round."""

    def __init__(self, settings: FederatedSettings, given: Surroundings) -> None:
        super().__init__(settings, given)
        self.x = self.state.server("parameters")
        self.x.copy_(given.initial[0])
        self._row = self.state.scratch(*self.x.shape)

    @classmethod
    def messages(cls) -> str:
        return f"{cls.uploads} up, {cls.downloads} down"

    @classmethod
    def rows_sent(cls, agents: int, edges: float) -> float:
        return (cls.uploads + cls.downloads) * agents

    @abstractmethod
    def round(self, x: Tensor) -> None:
        """Move x by one round."""

    def advance(self) -> None:
        self._count_bytes(self.downloads * len(self.agents) * self.x.numel() * self.x.element_size())
        self.round(self.x)

    def average(self, leaf: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Σ p_i v_i over all agents, where `leaf(agent, out)` writes v_i into `out`; an upload of one row an agent."""
        weights = self.weights(self.settings.weighting, range(self.total))

        def leaves() -> Iterator[tuple[int, Tensor]]:
            for agent in self.agents:
                yield agent, leaf(agent, self._row).mul_(weights[agent])

        self._count_bytes(len(self.agents) * self.x.numel() * self.x.element_size())
        return self._reduction.sum(leaves(), self.total, self.owners)

    def model(self, name: str) -> Tensor:
        return self.x
