"""Federated methods of local steps: the round's hooks. A method says what is its own, and the base does the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.direction import MomentumSettings
from mpidl.algorithms.federated.hooks import refuse_misspelt, write_rows
from mpidl.algorithms.federated.memories import Memories
from mpidl.algorithms.federated.work import Working, WorkSettings
from mpidl.compressors.base import Losses
from mpidl.metrics import Metric

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.algorithms.base import Rows
    from mpidl.algorithms.federated.uploads import Uplink


class LocalSettings(WorkSettings, MomentumSettings):
    """What methods of local steps can be told."""

    local_momentum: Literal["reset", "keep"] = Field(
        "reset", description="whether an agent's momentum starts at zero in each round, or stays with the agent"
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """An agent at work: where it is and steps along, its steps, those before them, and what its direction remembers."""

    agent: int
    y: Tensor
    g: Tensor
    steps: range
    before: int
    memory: Mapping[str, Tensor]


class Local(Working):
    """Each agent that takes part goes from x by local steps; the server moves by the sum of what they upload.

    A round is made of hooks, of which a method writes those that differ from federated averaging:

        survey(agent, x, out)                  `surveys` rows that are summed over S before local work; by default 0
        prepare(x)                             what follows from it; nothing
        begin(agent, x, y)                     where the agent starts; y ← x
        point(agent, y, x)                     where its next gradient is taken; y
        local_gradient(agent, y, x, g, step)   changes ∇F_i(y) + λy in place into what is stepped along; nothing
        upload(agent, y, x, out)               the rows that are summed; out ← y − x
        server(x, total)                       moves x by their sum; x ← x + Σ p_i (y_i − x)

    Hooks write in place and return nothing (`point` returns a row); `out` comes as zeros. Sums carry the weights p_i
    where `weighted` has True for the row. `surveyed` is the sum of the survey. Batches of a round follow from the round
    alone: those of steps tK, …, tK + K − 1, or of passes tE, …, tE + E − 1.
    """

    class Settings(LocalSettings):
        pass

    settings: LocalSettings
    gradient_formula: ClassVar[str] = "K"
    surveys: ClassVar[int] = 0
    """What `survey_rows` says, where that does not depend on the settings."""
    survey_weighted: ClassVar[bool] = True
    weighted: ClassVar[tuple[bool, ...]] = (True,)
    """For each row that `upload` writes, whether its sum carries the weights p_i."""
    metrics: tuple[Metric, ...] = (
        Metric("drift", "1", "mean over the agents that took part of the distance from x that they went in the round"),
    )

    def __init__(self, settings: LocalSettings, context: Context) -> None:
        super().__init__(settings, context)
        refuse_misspelt(self, Local)
        self.direction = settings.rule
        shape = (context.together, *self.x.shape)
        self.Y, self.G = self.state.scratch(*shape), self.state.scratch(*shape)
        self._ys, self._gs = self.Y.unbind(), self.G.unbind()
        self._uploads, self._total = self.yielded(len(self.weighted)), self.dense(len(self.weighted))
        self._upload_rows = self._uploads.unbind()
        surveys = self.survey_rows(settings)
        self._surveys = self.yielded(surveys) if surveys else None
        self.surveyed = self.dense(surveys) if surveys else self.x[:0]
        self._together, keep = context.together, settings.local_momentum == "keep"
        self._memories = Memories(self.direction.remembers, keep, self.state, context.together)
        self.uplink: Uplink | None = None
        """What packs uploads, where something does."""
        self._drifts: dict[int, Tensor] = {}

    # The hooks.

    def survey(self, agent: int, x: Tensor, out: Tensor) -> None:
        """Write what is summed over S before local work into `out` [surveys, P]."""

    def prepare(self, x: Tensor) -> None:
        """Work out what all agents need, after the survey."""

    def begin(self, agent: int, x: Tensor, y: Tensor) -> None:
        """Write where the agent starts into y."""
        y.copy_(x)

    def point(self, agent: int, y: Tensor, x: Tensor) -> Tensor:
        """Where the agent's next gradient is taken."""
        return y

    def local_gradient(self, agent: int, y: Tensor, x: Tensor, g: Tensor, step: int) -> None:
        """Turn the gradient on the batch of this step into what the agent steps along, in place."""

    def upload(self, agent: int, y: Tensor, x: Tensor, out: Tensor) -> None:
        """Write the rows that the agent sends into `out` [len(weighted), P]; its own state moves on here, too."""
        out[0].copy_(y).sub_(x)

    def server(self, x: Tensor, total: Tensor) -> None:
        """Move x by the summed uploads [len(weighted), P]."""
        x.add_(total[0])

    # What the base does with them.

    def round(self, x: Tensor) -> None:
        self._drifts.clear()
        if self.uplink is not None:
            self.uplink.losses.begin(self.observed)
        if self._surveys is not None:
            self.sum_rows(self._surveyed(x, self._surveys), self.surveyed)
        self.perform(self.prepare, x)
        self.perform(self.server, x, self.sum_rows(self._worked(x), self._total))
        for agent in self.crew.agents:
            self._memories.count(agent, len(self.steps(agent)))

    @classmethod
    def survey_rows(cls, settings: AlgorithmSettings) -> int:
        """Rows that an agent sends before local work; `weighted` says how many it sends after it."""
        return cls.surveys

    @classmethod
    def rows_up(cls, settings: AlgorithmSettings) -> int:
        return cls.survey_rows(settings) + len(cls.weighted)

    @classmethod
    def rows_of_each(cls, settings: AlgorithmSettings) -> Mapping[str, int]:
        """Of the rows that go up, those of the survey by themselves: they are never packed."""
        return {"survey": cls.survey_rows(settings), "up": len(cls.weighted), "down": cls.rows_down(settings)}

    def packed_bytes(self) -> Mapping[str, int]:
        return {} if self.uplink is None else {"up": self.uplink.row_bytes}

    def crew_diagnostics(self) -> dict[str, dict[int, float]]:
        drifts = {"drift": {agent: float(distance) for agent, distance in self._drifts.items()}}
        return drifts if self.uplink is None else drifts | {Losses.metric.name: self.uplink.losses.shares()}

    def _surveyed(self, x: Tensor, out: Tensor) -> Iterator[tuple[int, Tensor]]:
        for position in self.mine:
            write_rows(self, out, "surveys", self.survey, self.crew.agents[position], x)
            yield position, out.mul_(self.crew.weights[position]) if self.survey_weighted else out

    def _worked(self, x: Tensor) -> Iterator[tuple[int, Tensor]]:
        """What each agent here uploads after its local steps, weighted; agents work several at a time."""
        mine, crew = self.mine, self.crew
        for first in range(0, len(mine), self._together):
            group = mine[first : first + self._together]
            agents = [crew.agents[position] for position in group]
            self.local_steps(agents, x)
            for place, (position, agent) in enumerate(zip(group, agents, strict=True)):
                if self.observed:
                    self._drifts[agent] = self._ys[place].dist(x)
                write_rows(self, self._uploads, "weighted", self.upload, agent, self._ys[place], x)
                if self.uplink is not None:
                    self.uplink(agent, self.t, self._uploads)
                for row, weighted in zip(self._upload_rows, self.weighted, strict=True):
                    if weighted:
                        row.mul_(crew.weights[position])
                yield position, self._uploads

    def local_steps(self, agents: Sequence[int], x: Tensor) -> None:
        """Take all local steps of these agents, whose rows are the first of Y."""
        self._memories.clear()
        # Looked up once: a step on a small network takes some 0.15 ms.
        lr, layout, along = self.lr, self.layout, self.direction.along
        moved, changed = self._writes("point"), self._writes("local_gradient")
        places = zip(agents, self._ys, self._gs, strict=False)
        working = [
            _Work(agent, y, g, self.steps(agent), self._memories.steps_before(agent), self._memories.of(agent, place))
            for place, (agent, y, g) in enumerate(places)
        ]
        for its in working:
            self.perform(self.begin, its.agent, x, its.y)
        done = 0
        # Those that go on, in stretches at the end of which somebody is done.
        for end in sorted({len(its.steps) for its in working} - {0}):
            working = [its for its in working if done < len(its.steps)]
            active, rows, gradients = zip(*((its.agent, its.y, its.g) for its in working), strict=True)
            for k in range(done, end):
                points = [self.point(its.agent, its.y, x) for its in working] if moved else rows
                self.step_gradients(active, points, x, gradients, [its.steps[k] for its in working])
                for its in working:
                    if changed:
                        self.perform(self.local_gradient, its.agent, its.y, x, its.g, its.steps[k])
                    its.y.sub_(along(its.g, its.y, its.memory, its.before + k, lr, layout), alpha=lr)
            done = end

    def _writes(self, hook: str) -> bool:
        """Whether the method has a hook of its own."""
        return getattr(getattr(self, hook), "__func__", None) is not getattr(Local, hook)

    def step_gradients(self, agents: Sequence[int], rows: Rows, x: Tensor, out: Rows, steps: Sequence[int]) -> None:
        """∇F_i(row; B), clipped, plus λ·row, in `out`, which `local_gradient` changes further."""
        self.gradients_at(agents, rows, out, steps)
