"""How much agents do in a round in which they take part: steps or passes, and stragglers that do fewer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.federated.participation import ParticipationSettings, Sampled
from mpidl.config import Strict
from mpidl.errors import ConfigError


class Straggler(Strict):
    """Agents that have not done all of their passes when the round ends, as in the experiments of FedProx."""

    share: float = Field(ge=0, lt=1, description="of those that take part, rounded down; drawn anew in each round")
    epochs: NonNegativeInt | Literal["random"] = Field(
        "random", description="passes that they do: so many, or a random number from 1 to all; 0 drops them"
    )


class WorkSettings(ParticipationSettings):
    """What methods can be told in which agents take several steps in a round."""

    local_steps: PositiveInt | None = Field(None, description="K, steps of an agent in a round; or give local_epochs")
    local_epochs: PositiveInt | None = Field(None, description="E, passes of an agent over its data in a round")
    post_local: NonNegativeInt = Field(
        0, description="rounds of one step each before those; durations in epochs count rounds as they are after them"
    )
    straggler: Straggler | None = Field(None, description="agents that do fewer passes: {share, epochs}")

    @model_validator(mode="before")
    @classmethod
    def _what_is_given_replaces_a_default(cls, keys: Any) -> Any:
        for key, other in (("local_steps", "local_epochs"), ("local_epochs", "local_steps")):
            if isinstance(keys, dict) and keys.get(key) is not None and other not in keys:
                return keys | {other: None}
        return keys

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.local_steps is not None and self.local_epochs is not None:
            raise ConfigError("give one of 'local_steps' and 'local_epochs', not both", "local_steps")
        if self.straggler is not None:
            if self.local_epochs is None:
                raise ConfigError("stragglers do fewer passes than others: give local_epochs", "straggler")
            if self.straggler.epochs != "random" and self.straggler.epochs > self.local_epochs:
                raise ConfigError(
                    f"{self.straggler.epochs} are more than local_epochs ({self.local_epochs})", "straggler.epochs"
                )
        return self

    def rounds_per_epoch(self, steps_per_epoch: int) -> float:
        if self.local_epochs is None:
            return super().rounds_per_epoch(steps_per_epoch) / (self.local_steps or 1)
        passes = float(self.local_epochs)
        if self.straggler is not None:
            some = (1 + passes) / 2 if self.straggler.epochs == "random" else self.straggler.epochs
            passes += self.straggler.share * (some - passes)
        return 1 / (passes * self.participation)

    def expected_participants(self, agents: int) -> float:
        taking = super().expected_participants(agents)
        if self.straggler is None or self.straggler.epochs != 0:
            return taking
        dropped = taking * self.straggler.share
        return taking - (int(dropped) if self.sampling == "fixed" else dropped)


class Working(Sampled):
    """Agents take K steps each, or E passes over their own data, in a round in which they take part."""

    class Settings(WorkSettings):
        pass

    settings: WorkSettings

    def __init__(self, settings: WorkSettings, context: Context) -> None:
        self._passes: dict[int, int] = {}
        """Of the stragglers of the present round."""
        super().__init__(settings, context)

    @classmethod
    def gradients(cls, settings: AlgorithmSettings) -> str:
        formula = super().gradients(settings)
        passes = isinstance(settings, WorkSettings) and settings.local_epochs is not None
        # K steps, in some papers H.
        return re.sub(r"\b[KH]\b", "E passes", formula) if passes else formula

    def sample(self, t: int) -> tuple[int, ...]:
        agents = super().sample(t)
        self._passes = self._stragglers(t, agents)
        return tuple(agent for agent in agents if self._passes.get(agent) != 0)

    def steps(self, agent: int) -> range:
        """The steps whose batches an agent draws in the present round, from the round alone."""
        settings, single = self.settings, self.settings.post_local
        if self.t < single:
            return range(self.t, self.t + 1)
        turn = self.t - single
        if settings.local_epochs is None:
            each = settings.local_steps or 1
            first = single + turn * each
            return range(first, first + each)
        each = self.steps_per_pass(agent)
        first = (-(-single // each) + turn * settings.local_epochs) * each
        return range(first, first + each * self._passes.get(agent, settings.local_epochs))

    def work(self, agent: int) -> float:
        return len(self.steps(agent)) * self.sizes[agent] / self.steps_per_pass(agent)

    def _stragglers(self, t: int, agents: Sequence[int]) -> dict[int, int]:
        straggler, epochs = self.settings.straggler, self.settings.local_epochs
        if straggler is None or epochs is None or t < self.settings.post_local:
            return {}
        random = self.stream("stragglers", 0, t)
        late = random.permutation(len(agents))[: int(straggler.share * len(agents))].tolist()
        if straggler.epochs == "random":
            return {agents[place]: int(random.integers(1, epochs, endpoint=True)) for place in late}
        return {agents[place]: straggler.epochs for place in late}
