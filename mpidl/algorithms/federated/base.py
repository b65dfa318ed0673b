"""What federated algorithms share: one replicated server model, who takes part, who runs whom, and sums over agents."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mpidl.algorithms.base import Algorithm, AlgorithmSettings, Context, Crew
from mpidl.algorithms.federated.dealing import deal
from mpidl.algorithms.federated.shelf import Shelf

if TYPE_CHECKING:
    from torch import Tensor


class FederatedSettings(AlgorithmSettings):
    """What every federated algorithm can be told."""

    weighting: Literal["uniform", "data"] = Field(
        "uniform", description="the weights p_i of every average over agents: equal, or by the size of their data"
    )


class Federated(Algorithm):
    """A server vector x, equal on every rank, moves by sums over the agents that take part.

    A subclass writes `round(x)`, which changes x in place. Its declared lazy rows are where an agent is run: they are
    moved there before the round.
    """

    Settings: ClassVar[type[AlgorithmSettings]] = FederatedSettings
    settings: FederatedSettings
    models: ClassVar[tuple[str, ...]] = ("server",)
    one_start = True
    uploads: ClassVar[int] = 1
    downloads: ClassVar[int] = 1
    """What `rows_up` and `rows_down` say, where nothing else decides it."""

    def __init__(self, settings: FederatedSettings, context: Context) -> None:
        super().__init__(settings, context)
        self.x = self.state.server("parameters")
        self.x.copy_(context.initial[0])
        self._ranks, self._movable = context.ranks, context.movable
        self._owner = dict(zip(context.everyone, context.owners, strict=True))
        self._runner = dict(self._owner)
        """The rank that ran each agent last, where its lazy rows are."""
        self._summed = 0
        """Rows of each agent that this round has summed."""
        self._yielded: dict[int, Tensor] = {}
        self.crew = self._crew(context.everyone, self._owner)

    @classmethod
    def rows_up(cls, settings: AlgorithmSettings) -> int:
        """Rows that an agent sends to the server in a round in which it takes part."""
        return cls.uploads

    @classmethod
    def rows_down(cls, settings: AlgorithmSettings) -> int:
        """Rows that it receives."""
        return cls.downloads

    @classmethod
    def rows_of_each(cls, settings: AlgorithmSettings) -> Mapping[str, int]:
        """By quantity, the rows that an agent sends and receives in a round in which it takes part."""
        return {"up": cls.rows_up(settings), "down": cls.rows_down(settings)}

    @classmethod
    def participants(cls, settings: AlgorithmSettings, agents: int) -> float:
        """How many of so many agents take part in a round, on average."""
        return agents

    @classmethod
    def rows_sent(cls, settings: AlgorithmSettings, agents: int, edges: float) -> Mapping[str, float]:
        participants = cls.participants(settings, agents)
        return {name: rows * participants for name, rows in cls.rows_of_each(settings).items()}

    @classmethod
    def messages(cls, settings: AlgorithmSettings) -> str:
        return f"{cls.rows_up(settings)} up, {cls.rows_down(settings)} down"

    def participant_bytes(self) -> int:
        """Bytes that an agent sends and receives in a round in which it takes part."""
        whole, packed = self.x.numel() * self.x.element_size(), self.packed_bytes()
        return sum(rows * packed.get(name, whole) for name, rows in self.rows_of_each(self.settings).items())

    @abstractmethod
    def round(self, x: Tensor) -> None:
        """Move x by one round."""

    def sample(self, t: int) -> tuple[int, ...]:
        """The agents that take part in round t, ascending: from the seed and the round alone."""
        return self.everyone

    def work(self, agent: int) -> float:
        """What an agent's part in a round costs, in examples: ranks are dealt equal amounts of it."""
        return self.sizes[agent]

    @property
    def mine(self) -> list[int]:
        """The positions in `crew` of the agents that this rank runs in this round."""
        return self.crew.run_by(self._ranks.rank)

    def advance(self) -> None:
        self.assemble()
        self._count_bytes(self.participant_bytes() * len(self.mine))
        self._summed = 0
        self.perform(self.round, self.x)

    def perform(self, hook: Callable[..., object], *arguments: object) -> None:
        """Call a hook, which writes in place: what it returned would be lost, so it is refused."""
        returned = hook(*arguments)
        if returned is not None:
            name = hook.__name__
            raise self.refused(f"returns a {type(returned).__name__} from {name}(); write in place, and return nothing")

    def assemble(self) -> None:
        """Decide who takes part in the present round and who runs them, and move what they need there."""
        agents = self.sample(self.t)
        runners = self._owner
        if self._movable and len(agents) < len(self.everyone):
            runners = dict(zip(agents, deal([self.work(agent) for agent in agents], self._ranks.size), strict=True))
        self.crew = self._crew(agents, runners)
        moves = [(agent, self._runner[agent], runners[agent]) for agent in agents]
        self._ranks.move([move for move in moves if move[1] != move[2]])
        self._runner.update((agent, runner) for agent, _, runner in moves)

    def sum_rows(self, leaves: Iterator[tuple[int, Tensor]], out: Tensor) -> Tensor:
        """Σ over S, on every rank, of what `leaves` yields for each of `mine` in order: (position, row), in `out`.

        Where `out` [n, P] is for several, each yields so many rows. `dense` makes memory for `out`, `yielded` for what
        is yielded, which may be overwritten once the next is asked for.
        """
        rows = len(out) if out.ndim == 2 else None
        self._summed += rows or 1
        if self._summed > self.rows_up(self.settings):
            raise self.refused(f"sums {self._summed} rows of each agent in a round; let its `uploads` say so")
        return self.reduction.sum(leaves, len(self.crew.agents), self.crew.runners, out, rows)

    def dense(self, rows: int) -> Tensor:
        """Memory [rows, P] without gaps, of which the first sum is not slowed by fresh pages in every round."""
        return self.state.scratch(1, rows * self.x.numel())[0].view(rows, -1)

    def yielded(self, rows: int) -> Tensor:
        """The same, for what is yielded to be summed: where ranks share memory, it is read there, and not copied.

        Other calls give the same memory.
        """
        if rows not in self._yielded:
            self.state.reserve(rows * self.x.numel() * self.x.element_size())
            self._yielded[rows] = self.reduction.memory(rows)
        return self._yielded[rows]

    def expected(self) -> float:
        """How many agents take part in a round of this run, on average."""
        return self.participants(self.settings, len(self.everyone))

    def shelf(self, used: bool = True) -> Shelf:
        """Rows of the agents that this rank runs, which last until the end of the round: to be asked for once."""
        return Shelf(self.state, math.ceil(self.expected() / self._ranks.size) if used else 0)

    def weights_of(self, agents: Sequence[int]) -> list[float]:
        """The weights p_i of those who take part."""
        return self.weights(self.settings.weighting, agents)

    def took_part(self) -> Crew:
        return self.crew

    def model(self, name: str) -> Tensor:
        return self.x

    def _crew(self, agents: Sequence[int], runners: dict[int, int]) -> Crew:
        return Crew(tuple(agents), tuple(self.weights_of(agents)), tuple(runners[agent] for agent in agents))
