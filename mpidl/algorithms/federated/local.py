"""Federated methods of local steps: the round's hooks. A method says what is its own, and the base does the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.direction import MomentumSettings
from mpidl.algorithms.federated.base import Federated, FederatedSettings
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


class LocalSettings(FederatedSettings, MomentumSettings):
    """What methods of local steps can be told."""

    local_steps: PositiveInt | None = Field(None, description="K, steps of an agent in a round; or give local_epochs")
    local_epochs: PositiveInt | None = Field(None, description="E, passes of an agent over its data in a round")
    participation: float = Field(1.0, gt=0, le=1, description="share of the agents that take part in a round")
    sampling: Literal["fixed", "bernoulli"] = Field(
        "fixed", description="exactly that share of the agents, or each by itself with that probability"
    )
    local_momentum: Literal["reset", "keep"] = Field(
        "reset", description="whether an agent's momentum starts at zero in each round, or stays with the agent"
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.local_steps is not None and self.local_epochs is not None:
            raise ConfigError("give one of 'local_steps' and 'local_epochs', not both", "local_steps")
        return self

    def rounds_per_epoch(self, steps_per_epoch: int) -> float:
        if self.local_epochs is not None:
            return 1 / (self.local_epochs * self.participation)
        return steps_per_epoch / ((self.local_steps or 1) * self.participation)

    def expected_participants(self, agents: int) -> float:
        """How many of so many agents take part in a round, on average."""
        return sample_size(agents, self.participation) if self.sampling == "fixed" else agents * self.participation


class Local(Federated):
    """Each agent that takes part goes from x by local steps; the server moves by the sum of what they upload.

    A round is made of hooks, of which a method writes those that differ from federated averaging:

        survey(agent, x, out)            rows summed over S before local work; `surveys` says how many, by default none
        begin(agent, x, y)               where the agent starts; y ← x
        local_gradient(agent, y, x, g)   changes ∇F_i(y) + λy in place into what is stepped along; nothing
        upload(agent, y, x, out)         the rows that are summed; out ← y − x
        server(x, total)                 moves x by their sum; x ← x + Σ p_i (y_i − x)

    Sums carry the weights p_i where `weighted` has True for the row. `surveyed` is the sum of the survey. Batches of a
    round follow from the round alone: those of steps tK, …, tK + K − 1, or of passes tE, …, tE + E − 1.
    """

    class Settings(LocalSettings):
        pass

    settings: LocalSettings
    gradients: ClassVar[str] = "K"
    surveys: ClassVar[int] = 0
    survey_weighted: ClassVar[bool] = True
    weighted: ClassVar[tuple[bool, ...]] = (True,)
    """For each row that `upload` writes, whether its sum carries the weights p_i."""

    def __init__(self, settings: LocalSettings, given: Context) -> None:
        super().__init__(settings, given)
        self.direction = settings.rule
        shape = (given.together, *self.x.shape)
        self.Y, self.G = self.state.scratch(*shape), self.state.scratch(*shape)
        self._uploads = self.state.scratch(len(self.weighted), *self.x.shape)
        self._surveys = self.state.scratch(self.surveys, *self.x.shape) if self.surveys else None
        self._together, keep = given.together, settings.local_momentum == "keep"
        names = self.direction.remembers
        self._kept = {name: self.state.lazy_rows(f"local {name}") for name in names} if keep else {}
        self._fresh = {} if keep else {name: self.state.scratch(*shape) for name in names}
        self.surveyed: Tensor | None = None

    @classmethod
    def rows_sent(cls, settings: AlgorithmSettings, agents: int, edges: float) -> Mapping[str, float]:
        participants = settings.expected_participants(agents) if isinstance(settings, LocalSettings) else agents
        return {"up": cls.uploads * participants, "down": cls.downloads * participants}

    # The hooks.

    def survey(self, agent: int, x: Tensor, out: Tensor) -> None:
        """Write what is summed over S before local work into `out` [surveys, P]."""

    def begin(self, agent: int, x: Tensor, y: Tensor) -> None:
        """Write where the agent starts into y."""
        y.copy_(x)

    def local_gradient(self, agent: int, y: Tensor, x: Tensor, g: Tensor) -> None:
        """Turn the gradient at y into what the agent's step is made of, in place."""

    def upload(self, agent: int, y: Tensor, x: Tensor, out: Tensor) -> None:
        """Write the rows that the agent sends into `out` [len(weighted), P]; its own state moves on here, too."""
        out[0].copy_(y).sub_(x)

    def server(self, x: Tensor, total: Tensor) -> None:
        """Move x by the summed uploads [len(weighted), P]."""
        x.add_(total[0])

    # What the base does with them.

    def sample(self, t: int) -> tuple[int, ...]:
        share, agents = self.settings.participation, self.everyone
        if share == 1:
            return agents
        if self.settings.sampling == "fixed":
            chosen = self.stream("sampling", 0, t).permutation(len(agents))[: sample_size(len(agents), share)]
            return tuple(agents[place] for place in sorted(chosen.tolist()))
        random = self.stream("sampling", 0, t)
        while True:
            taken = tuple(agent for agent, u in zip(agents, random.random(len(agents)), strict=True) if u < share)
            if taken:
                return taken

    def steps(self, agent: int) -> range:
        """The steps whose batches an agent draws in the present round."""
        each = self.settings.local_steps or 1
        if self.settings.local_epochs is not None:
            each = self.settings.local_epochs * self.steps_per_pass(agent)
        return range(self.t * each, (self.t + 1) * each)

    def work(self, agent: int) -> float:
        return len(self.steps(agent)) * self.sizes[agent] / self.steps_per_pass(agent)

    def round(self, x: Tensor) -> None:
        if self._surveys is not None:
            self.surveyed = self.sum_rows(self._surveyed(x, self._surveys), self.surveys)
        self.server(x, self.sum_rows(self._worked(x), len(self.weighted)))

    def _surveyed(self, x: Tensor, out: Tensor) -> Iterator[tuple[int, Tensor]]:
        for position in self.mine:
            self.survey(self.crew.agents[position], x, out)
            yield position, out.mul_(self.crew.weights[position]) if self.survey_weighted else out

    def _worked(self, x: Tensor) -> Iterator[tuple[int, Tensor]]:
        """What each agent here uploads after its local steps, weighted; agents work several at a time."""
        mine, crew = self.mine, self.crew
        for first in range(0, len(mine), self._together):
            group = mine[first : first + self._together]
            agents = [crew.agents[position] for position in group]
            self.local_steps(agents, x)
            for place, (position, agent) in enumerate(zip(group, agents, strict=True)):
                self.upload(agent, self.Y[place], x, self._uploads)
                for row, weighted in zip(self._uploads, self.weighted, strict=True):
                    if weighted:
                        row.mul_(crew.weights[position])
                yield position, self._uploads

    def local_steps(self, agents: Sequence[int], x: Tensor) -> None:
        """Take all local steps of these agents, whose rows are the first of Y."""
        for block in self._fresh.values():
            block.zero_()
        for place, agent in enumerate(agents):
            self.begin(agent, x, self.Y[place])
        schedules = [self.steps(agent) for agent in agents]
        for k in range(max(map(len, schedules), default=0)):
            active = [place for place, schedule in enumerate(schedules) if k < len(schedule)]
            rows, out = [self.Y[place] for place in active], [self.G[place] for place in active]
            self.gradients_at([agents[p] for p in active], rows, out, [schedules[p][k] for p in active])
            for place, y, g in zip(active, rows, out, strict=True):
                self.local_gradient(agents[place], y, x, g)
                memory = self._memory(agents[place], place)
                y.sub_(self.direction.along(g, y, memory, k, self.lr, self.layout), alpha=self.lr)

    def _memory(self, agent: int, place: int) -> dict[str, Tensor]:
        """What the direction remembers of an agent: its own, or zero at the start of the round."""
        kept = {name: items[agent] for name, items in self._kept.items()}
        return kept or {name: block[place] for name, block in self._fresh.items()}


def sample_size(agents: int, share: float) -> int:
    """⌈share·agents − 1e-9⌉: the number of agents that a share of them is."""
    return max(1, math.ceil(share * agents - 1e-9))
