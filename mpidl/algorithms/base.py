"""What every algorithm is given, and what a run asks of it.

An algorithm is arithmetic on blocks of rows. It draws gradients from an oracle, mixes or reduces through what it was
handed, and declares its state; it never learns where data come from, how rows travel or what is saved.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

from pydantic import Field

from mpidl.errors import ConfigError
from mpidl.metrics import Metric
from mpidl.registry import Part

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from mpidl.comm.gossip.schemes.base import EdgeExchange, Exchange
    from mpidl.graphs.base import Topology
    from mpidl.layout import Layout
    from mpidl.state import State

Rows: TypeAlias = "Tensor | Sequence[Tensor]"
"""Rows [P] wherever they lie: a block [k, P], or a list of rows."""


class Oracle(Protocol):
    """Where gradients come from: a training set here, a user's closure elsewhere.

    A pure function of what it is asked: agents may stand in any order and more than once, and need not be this rank's.
    """

    def __call__(self, agents: Sequence[int], rows: Rows, steps: Sequence[int], out: Rows) -> None:
        """Write the gradient of each agent's mean loss over its batch of that step, at its row, into its `out`."""

    def whole(self, agent: int, row: Tensor, out: Tensor) -> None:
        """Write the gradient of the agent's mean loss over all its data, at `row`, into `out`."""

    def hessian_product(self, agent: int, row: Tensor, step: int, vector: Tensor, out: Tensor) -> None:
        """Write H·vector into `out`, H the Hessian of the agent's mean loss over its batch of that step, at `row`."""


class ExchangeMaker(Protocol):
    """What makes exchanges between neighbours; every rank asks for the same ones in the same order."""

    @property
    def gamma(self) -> float:
        """The consensus step γ of the gossip scheme."""

    def exchange(self, name: str, blocks: int = 2, readable: bool = False) -> Exchange:
        """Gossip of one quantity, in two blocks or three; `readable`: neighbours' rows will be read by themselves."""

    def edges(self, name: str) -> EdgeExchange:
        """A row for each directed edge."""


class Reduction(Protocol):
    """Sums over agents, equal on every rank; see mpidl/comm/reduce.py."""

    def memory(self, rows: int | None = None) -> Tensor: ...

    def sum(
        self,
        leaves: Iterable[tuple[int, Tensor]],
        positions: int,
        owners: Sequence[int],
        out: Tensor | None = None,
        rows: int | None = None,
    ) -> Tensor: ...


class Ranks(Protocol):
    """Who runs which agent, where that matters: agents may be run by a rank that does not own them."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def move(self, moves: Sequence[tuple[int, int, int]]) -> None:
        """Carry the lazy state of agents between ranks: (agent, from, to), known alike to all."""


@dataclass(frozen=True)
class Context:
    """What an algorithm is given, alike in a run and in the rehearsal that tells its memory.

    `agents` are those of this rank, `everyone` all that take part in the run, `owners` the rank that owns each of
    those, `sizes` their numbers of examples. `initial` is a block [k, P]. `factor` is the schedule. `measuring` sums as
    `reduction` does, but counts as evaluation. `together` is how many agents' gradients are worth asking for at once.
    """

    agents: tuple[int, ...]
    everyone: tuple[int, ...]
    owners: tuple[int, ...]
    sizes: Mapping[int, int]
    layout: Layout
    state: State
    initial: Tensor
    models: tuple[str, ...]
    """Those of the algorithm's models that the run evaluates."""
    oracle: Oracle
    exchanges: ExchangeMaker
    topology: Topology | None
    """The graph by round, where there is one: `topology.at(t)`."""
    reduction: Reduction
    measuring: Reduction
    ranks: Ranks
    movable: bool
    """Whether any rank may run any agent, because all hold all data."""
    together: int
    steps_per_pass: Callable[[int], int]
    """Batches in one pass of an agent over its examples."""
    seed: int
    stream: Callable[[str, int, int], np.random.Generator]
    """Random numbers for a purpose, an agent and a round, the same wherever they are drawn."""
    factor: Callable[[int], float]
    count_bytes: Callable[[int], None]


@dataclass(frozen=True)
class Crew:
    """Who takes part in a round: the agents S, ascending, their weights p_i, and the rank that runs each."""

    agents: tuple[int, ...]
    weights: tuple[float, ...]
    runners: tuple[int, ...]

    def run_by(self, rank: int) -> list[int]:
        """The positions in S of the agents that this rank runs, ascending."""
        return [position for position, runner in enumerate(self.runners) if runner == rank]


class AlgorithmSettings(Part):
    """What every algorithm can be told."""

    lr: float = Field(0.1, ge=0, description="learning rate η; the schedule multiplies it")
    weight_decay: float = Field(0.0, ge=0, description="coupled weight decay λ: adds λx to a gradient taken at x")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of a gradient row, before weight decay")

    def rounds_per_epoch(self, steps_per_epoch: int) -> float:
        """Rounds until as many examples were drawn as there are, where one batch per agent and round takes so many."""
        return steps_per_epoch


class Algorithm(ABC):
    """One training method. A subclass gives its `Settings`, the models it defines, and one round."""

    Settings: ClassVar[type[AlgorithmSettings]] = AlgorithmSettings
    models: ClassVar[tuple[str, ...]]
    """Models that can be evaluated, the one that the method is judged by first."""
    gradient_formula: ClassVar[str] = "1"
    """What `gradients` says, where that does not depend on the settings."""
    metrics: tuple[Metric, ...] = ()
    """What the diagnostics measure: of a class, or of one run where that depends on it."""
    plain_alone: ClassVar[bool] = True
    """Whether one agent alone runs plain SGD; if not, the algorithm has a closed form of its own to be held against."""
    copies_are_one: ClassVar[bool] = True
    """Whether agents that are alike, with the same data, do what one of them would do alone."""
    one_start: ClassVar[bool] = False
    """Whether all agents start from the same parameters."""
    outlives: ClassVar[bool] = False
    """Whether it stays right when agents are dropped: what it keeps holds without them, or begins anew (`renew`)."""

    def __init__(self, settings: AlgorithmSettings, context: Context) -> None:
        self.settings = settings
        self.state, self.layout = context.state, context.layout
        self.agents, self.everyone, self.owners = context.agents, context.everyone, context.owners
        self.sizes, self.stream, self.topology = context.sizes, context.stream, context.topology
        self.oracle, self.reduction, self.measuring = context.oracle, context.reduction, context.measuring
        self.steps_per_pass = context.steps_per_pass
        self.t = 0
        self.observed = False
        """Whether the present round ends with a record, so that what `crew_diagnostics` needs is worth measuring."""
        self._factor, self._count_bytes = context.factor, context.count_bytes

    @classmethod
    @abstractmethod
    def rows_sent(cls, settings: AlgorithmSettings, agents: int, edges: float) -> Mapping[str, float]:
        """By quantity, the rows that all agents together send in a round, on a graph of so many directed edges."""

    @classmethod
    @abstractmethod
    def messages(cls, settings: AlgorithmSettings) -> str:
        """Rows sent per agent and round in which it takes part, as a formula for people."""

    @classmethod
    def gradients(cls, settings: AlgorithmSettings) -> str:
        """Gradients per agent and round in which it takes part, as a formula for people."""
        return cls.gradient_formula

    @classmethod
    def needs(cls, settings: AlgorithmSettings) -> tuple[str, ...]:
        """What must hold for the graph, where there is one; see mpidl/graphs/validate.py."""
        return ()

    @abstractmethod
    def advance(self) -> None:
        """One round, from the state after t rounds to the state after t + 1."""

    @abstractmethod
    def model(self, name: str) -> Tensor:
        """One of `models`: a vector [P] equal on every rank, or a block [k, P] of one model for each agent here."""

    def diagnostics(self) -> dict[str, list[float]]:
        """Measurements of the present state by metric, one for each local agent; a run records their means."""
        return {}

    def crew_diagnostics(self) -> dict[str, dict[int, float]]:
        """Measurements by metric, one for each agent that this rank ran in the last round; their means are recorded."""
        return {}

    def server_diagnostics(self) -> dict[str, float]:
        """Measurements by metric that are the same on every rank."""
        return {}

    def warnings(self) -> tuple[str, ...]:
        """What a person should know of these settings, on this graph, before the run."""
        return ()

    def packed_bytes(self) -> Mapping[str, int]:
        """By quantity of `rows_sent`, the bytes of a row that the algorithm itself packs; gossip packs the others."""
        return {}

    def took_part(self) -> Crew | None:
        """Who took part in the last round, where a server's model moves by those who do."""
        return None

    def everybody(self) -> Crew:
        """All agents, with equal weights, each run by the rank that owns it."""
        return Crew(self.everyone, tuple(self.weights("uniform", self.everyone)), tuple(self.owners))

    def run_round(self, t: int) -> None:
        """Round number t, counted from 0, at that round's learning rate."""
        self.t = t
        self.advance()

    def refused(self, what: str) -> ConfigError:
        """The error for what whoever wrote the algorithm got wrong."""
        return ConfigError(f"{self.settings.name!r} {what}", "algorithm")

    @property
    def lr(self) -> float:
        """η of the present round."""
        return self.lr_at(self.t)

    def lr_at(self, t: int) -> float:
        """η of any round, of the one before (D²) as well."""
        return self.settings.lr * self._factor(t)

    # A gradient in its parts: of the loss; clipped; with weight decay at the point where it was taken.

    def loss_gradients(self, agents: Sequence[int], rows: Rows, out: Rows, steps: Sequence[int] | None = None) -> None:
        """∇F_i(row; B) of each agent as it is, in `out`. B is the agent's batch of its step, by default of step t."""
        self.oracle(agents, rows, [self.t] * len(agents) if steps is None else steps, out)

    def clip(self, gradients: Rows) -> None:
        """Shorten rows that are longer than `clip_norm`; a row of zeros stays as it is."""
        if self.settings.clip_norm is not None:
            for g in gradients:
                # On the device, without asking for the norm's value.
                g.mul_((self.settings.clip_norm / g.norm()).clamp(max=1.0))

    def decay(self, gradients: Rows, rows: Rows) -> None:
        """Add λ·row to each gradient."""
        if self.settings.weight_decay:
            for g, x in zip(gradients, rows, strict=True):
                g.add_(x, alpha=self.settings.weight_decay)

    def clipped_gradients(
        self, agents: Sequence[int], rows: Rows, out: Rows, steps: Sequence[int] | None = None
    ) -> None:
        """∇F_i(row; B), clipped, in `out`; with `SharpnessAware` that of SAM."""
        self.loss_gradients(agents, rows, out, steps)
        self.clip(out)

    def gradients_at(self, agents: Sequence[int], rows: Rows, out: Rows, steps: Sequence[int] | None = None) -> None:
        """∇F_i(row; B), clipped, plus λ·row, in `out`."""
        self.clipped_gradients(agents, rows, out, steps)
        self.decay(out, rows)

    def whole_gradient(self, agent: int, row: Tensor, out: Tensor) -> None:
        """∇F_i(row) over all data of the agent, clipped, plus λ·row, in `out`."""
        self.oracle.whole(agent, row, out)
        self.clip([out])
        self.decay([out], [row])

    def weights(self, weighting: str, over: Sequence[int]) -> list[float]:
        """p_i over the given agents: equal (`uniform`) or by the size of their data (`data`)."""
        if weighting == "uniform":
            return [1 / len(over)] * len(over)
        everything = sum(self.sizes[agent] for agent in over)
        return [self.sizes[agent] / everything for agent in over]
