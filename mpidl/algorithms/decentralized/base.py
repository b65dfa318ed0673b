"""What decentralized algorithms share: a row for each agent, gradients on blocks, mixing with neighbours."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from mpidl.algorithms.base import Algorithm, AlgorithmSettings, Exchange, Surroundings
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


class Decentralized(Algorithm):
    """Agents hold rows X = (x_1, …, x_N) and mix them with those of their neighbours.

    A subclass writes `round(X) -> X⁺`. X is one of the two blocks of the exchange and may be written; what `mix`
    returns is the other one. A row given to `mix` must be left alone afterwards: neighbours may still be reading it.
    """

    models: ClassVar[tuple[str, ...]] = ("consensus", "local")
    mixed: ClassVar[tuple[str, ...]] = ("parameters",)
    """The quantities that travel to neighbours, each with its own exchange and scheme state."""

    needs: ClassVar[tuple[str, ...]] = ("connected", "doubly stochastic", "averaging")
    """What must hold for the graph; see mpidl/graphs/validate.py."""

    def __init__(self, settings: AlgorithmSettings, given: Surroundings) -> None:
        super().__init__(settings, given)
        self._exchanges: dict[str, Exchange] = {name: given.exchange(name) for name in self.mixed}
        self._own = {name: exchange.blocks[0] for name, exchange in self._exchanges.items()}
        """By quantity, the block that no neighbour reads at the moment, so that it may be written."""
        self.X = self.state.rows("parameters", storage=self._own["parameters"])
        self.X.copy_(given.initial)
        self.G = self.state.scratch(*self.X.shape)
        self._mean: Tensor | None = None

    @classmethod
    def messages(cls) -> str:
        return "deg" if len(cls.mixed) == 1 else f"{len(cls.mixed)} deg"

    @classmethod
    def rows_sent(cls, agents: int, edges: float) -> float:
        return len(cls.mixed) * edges

    @abstractmethod
    def round(self, X: Tensor) -> Tensor:
        """X after one round, in a block of the exchange."""

    def advance(self) -> None:
        self._mean = None
        X = self.round(self.X)
        if getattr(X, "shape", None) != self.X.shape:
            what = f"a block of shape {tuple(X.shape)}" if hasattr(X, "shape") else type(X).__name__
            raise ConfigError(
                f"{self.settings.name!r}: its round() returned {what}; return the block of all rows, of shape "
                f"{tuple(self.X.shape)}",
                "algorithm",
            )
        self.X = X
        self.state.rebind("parameters", self.X)

    def gradient(self, X: Tensor) -> Tensor:
        """The block of every local agent's gradient at its row of X; valid until the next call."""
        self.announce(X)
        for place, agent in enumerate(self.agents):
            self.gradient_of(agent, X[place], self.G[place])
        return self.G

    def mix(self, Z: Tensor, name: str = "parameters") -> Tensor:
        """What the gossip scheme makes of Z: for exact gossip Z + γ(WZ − Z)."""
        self.send(Z, name)
        return self.receive(name)

    def send(self, Z: Tensor, name: str = "parameters") -> None:
        """The first half of `mix`: Z goes out to the neighbours, and must not change until `receive`."""
        if self.total == 1:
            # Nobody to mix with: the row stays where it is.
            self._own[name] = Z
            return
        if Z.data_ptr() != self._own[name].data_ptr():
            # An update written out of place (X − ηG) is copied into the memory that neighbours read.
            Z = self._own[name].copy_(Z)
        self._exchanges[name].start(Z, self.t)

    def receive(self, name: str = "parameters") -> Tensor:
        """The second half of `mix`."""
        if self.total > 1:
            self._own[name] = self._exchanges[name].finish()
        return self._own[name]

    def model(self, name: str) -> Tensor:
        if name == "local":
            return self.X
        if self._mean is None:
            self._mean = self.average(self.X)
        return self._mean

    def diagnostics(self) -> dict[str, list[float]]:
        """The squared distances ‖x_i − x̄‖², whose mean is Tr Ξ [Zhu et al. 2023]."""
        mean = self.model("consensus")
        return {"consensus_distance": [float((x - mean).double().square().sum()) for x in self.X]}

    def average(self, block: Tensor) -> Tensor:
        """The mean over all agents of their rows, summed in a fixed order."""
        share = 1 / self.total
        leaves = ((agent, block[place] * share) for place, agent in enumerate(self.agents))
        return self._measuring.sum(leaves, self.total, self.owners)
