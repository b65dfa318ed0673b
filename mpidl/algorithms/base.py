"""What every algorithm is given, and what a run asks of it.

An algorithm is arithmetic on blocks of rows. It draws gradients from an oracle, mixes or reduces through what it was
handed, and declares its state; it never learns how many ranks there are, where data come from or what is saved.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from pydantic import Field

from mpidl.registry import Part

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.state import State


class Oracle(Protocol):
    """Where gradients come from: a training set here, a user's closure elsewhere."""

    def ahead(self, agents: Sequence[int], block: Tensor, step: int) -> None:
        """Hear that gradients of these agents at the rows of the block will be asked for next."""

    def __call__(self, agent: int, row: Tensor, step: int, out: Tensor) -> None:
        """Write the gradient of the agent's mean loss over its batch of that step, at `row`, into `out`."""


class Exchange(Protocol):
    """Gossip of one quantity between neighbours; see mpidl/comm/gossip/settings.py."""

    blocks: tuple[Tensor, Tensor]

    def start(self, Z: Tensor, t: int) -> None: ...

    def finish(self) -> Tensor: ...


class Reduction(Protocol):
    """Sums over agents, equal on every rank; see mpidl/comm/reduce.py."""

    def sum(self, leaves: Iterable[tuple[int, Tensor]], positions: int, owners: Sequence[int]) -> Tensor: ...


@dataclass(frozen=True)
class Surroundings:
    """What an algorithm is given.

    `agents` are those of this rank; `owners` the rank and `sizes` the number of examples of every agent; `factor` the
    schedule; `initial` a block [k, P]. `measuring` sums as `reduction` does, but counts as evaluation, not training.
    """

    agents: tuple[int, ...]
    owners: tuple[int, ...]
    sizes: tuple[int, ...]
    state: State
    oracle: Oracle
    exchange: Callable[[str], Exchange]
    reduction: Reduction
    measuring: Reduction
    factor: Callable[[int], float]
    initial: Tensor
    count_bytes: Callable[[int], None]


class AlgorithmSettings(Part):
    """What every algorithm can be told."""

    lr: float = Field(0.1, ge=0, description="learning rate η; the schedule multiplies it")
    weight_decay: float = Field(0.0, ge=0, description="coupled weight decay λ: adds λx to a gradient taken at x")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of a gradient row, before weight decay")


class Algorithm(ABC):
    """One training method. A subclass gives its `Settings`, the models it defines, and one round."""

    Settings: ClassVar[type[AlgorithmSettings]] = AlgorithmSettings
    models: ClassVar[tuple[str, ...]]
    """Models that can be evaluated, the one that the method is judged by first."""
    gradients: ClassVar[str] = "1"
    """Gradients per agent and round, as a formula for people."""
    plain_alone: ClassVar[bool] = True
    """Whether one agent alone runs plain SGD; if not, the algorithm has a closed form of its own to be held against."""

    def __init__(self, settings: AlgorithmSettings, given: Surroundings) -> None:
        self.settings = settings
        self.state = given.state
        self.agents, self.owners, self.sizes = given.agents, given.owners, given.sizes
        self.total = len(given.owners)
        self.t = 0
        self.lr = settings.lr * given.factor(0)
        self.gradient_norms: dict[int, float] | None = None
        """The norm of each local agent's first gradient of a round, where the loop has put a mapping here."""
        self._oracle, self._factor, self._count_bytes = given.oracle, given.factor, given.count_bytes
        self._reduction, self._measuring = given.reduction, given.measuring

    @classmethod
    @abstractmethod
    def messages(cls) -> str:
        """Rows sent per agent and round, as a formula for people."""

    @classmethod
    @abstractmethod
    def rows_sent(cls, agents: int, edges: float) -> float:
        """Rows that all agents together send in a round, on a graph of so many directed edges where there is one."""

    @abstractmethod
    def advance(self) -> None:
        """One round, from the state after t rounds to the state after t + 1."""

    @abstractmethod
    def model(self, name: str) -> Tensor:
        """One of `models`: a vector [P] equal on every rank, or a block [k, P] of one model for each agent here."""

    def diagnostics(self) -> dict[str, list[float]]:
        """Measurements of the present state by metric, one for each local agent; a run records their means."""
        return {}

    def run_round(self, t: int) -> None:
        """Round number t, counted from 0, at that round's learning rate."""
        self.t, self.lr = t, self.settings.lr * self._factor(t)
        self.advance()

    def gradient_of(self, agent: int, row: Tensor, out: Tensor, step: int | None = None) -> Tensor:
        """∇F_i(row; B), clipped, plus λ·row, in `out`. B is the agent's batch of the given step, by default t."""
        self._oracle(agent, row, self.t if step is None else step, out)
        if self.gradient_norms is not None:
            self.gradient_norms.setdefault(agent, float(out.norm()))
        clip_norm, weight_decay = self.settings.clip_norm, self.settings.weight_decay
        if clip_norm is not None:
            # On the device, without asking for the norm's value; a row of zeros stays as it is.
            out.mul_((clip_norm / out.norm()).clamp(max=1.0))
        if weight_decay:
            out.add_(row, alpha=weight_decay)
        return out

    def announce(self, block: Tensor) -> None:
        """Say that every local agent's gradient of this round at its row of the block will be asked for next."""
        self._oracle.ahead(self.agents, block, self.t)

    def weights(self, weighting: str, over: Sequence[int]) -> list[float]:
        """p_i over the given agents: equal (`uniform`) or by the size of their data (`data`)."""
        if weighting == "uniform":
            return [1 / len(over)] * len(over)
        everything = sum(self.sizes[agent] for agent in over)
        return [self.sizes[agent] / everything for agent in over]
