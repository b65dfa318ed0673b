"""Who takes part in a round: a share of the agents, drawn anew each time."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from mpidl.algorithms.base import AlgorithmSettings
from mpidl.algorithms.federated.base import Federated, FederatedSettings


class ParticipationSettings(FederatedSettings):
    """What methods can be told in which a part of the agents takes part in a round."""

    participation: float = Field(1.0, gt=0, le=1, description="share of the agents that take part in a round")
    sampling: Literal["fixed", "bernoulli"] = Field(
        "fixed", description="exactly that share of the agents, or each by itself with that probability"
    )

    def rounds_per_epoch(self, steps_per_epoch: int) -> float:
        return steps_per_epoch / self.participation

    def expected_participants(self, agents: int) -> float:
        """How many of so many agents take part in a round, on average."""
        return sample_size(agents, self.participation) if self.sampling == "fixed" else agents * self.participation


class Sampled(Federated):
    """A part of the agents takes part in a round, drawn from the seed and the round alone."""

    class Settings(ParticipationSettings):
        pass

    settings: ParticipationSettings

    @classmethod
    def participants(cls, settings: AlgorithmSettings, agents: int) -> float:
        return settings.expected_participants(agents) if isinstance(settings, ParticipationSettings) else agents

    def sample(self, t: int) -> tuple[int, ...]:
        share, agents = self.settings.participation, self.everyone
        if share == 1:
            return agents
        random = self.stream("sampling", 0, t)
        if self.settings.sampling == "fixed":
            chosen = random.permutation(len(agents))[: sample_size(len(agents), share)]
            return tuple(agents[place] for place in sorted(chosen.tolist()))
        while True:
            taken = tuple(agent for agent, u in zip(agents, random.random(len(agents)), strict=True) if u < share)
            if taken:
                return taken


def sample_size(agents: int, share: float) -> int:
    """⌈share·agents − 1e-9⌉: the number of agents that a share of them is."""
    return max(1, math.ceil(share * agents - 1e-9))
