"""The data set's own division."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from mpidl.data.splits.base import Pool, Split, Warn
from mpidl.errors import ConfigError


class Given(Split):
    """Examples go where the data set says: writers, speakers, subjects, whole.

    `owners: all` deals every owner out, largest first, each to the agent that has least (with as many agents as owners,
    agent i is owner i); `largest` takes one owner per agent, in the order of their sizes; `random` takes one owner per
    agent, drawn by the seed. Log-normal sizes thin the shares at random.
    """

    owners: Literal["all", "largest", "random"] = Field("all", description="which of the owners take part")

    def deal(self, pool: Pool, sizes: np.ndarray, rng: np.random.Generator, warn: Warn) -> list[np.ndarray]:
        names, owner = np.unique(pool.owner, return_inverse=True)
        agents = len(sizes)
        if len(names) < agents:
            raise ConfigError(
                f"{agents} agents cannot each have one of {len(names)} owners whole; use at most {len(names)}", "agents"
            )
        amounts = np.bincount(owner)
        agent_of = np.full(len(names), -1)
        if len(names) == agents and self.owners == "all":
            agent_of = np.arange(agents)
        elif self.owners == "all":
            held = np.zeros(agents, dtype=np.int64)
            for at in np.argsort(-amounts, kind="stable"):
                agent_of[at] = held.argmin()
                held[agent_of[at]] += amounts[at]
        else:
            order = np.argsort(-amounts, kind="stable") if self.owners == "largest" else rng.permutation(len(names))
            agent_of[order[:agents]] = np.arange(agents)
            warn(f"{agents} of {len(names)} owners take part")
        held_by = agent_of[owner]
        shares = [np.flatnonzero(held_by == agent) for agent in range(agents)]
        if self.lognormal:
            kept = [max(1, int(len(share) * part)) for share, part in zip(shares, sizes / sizes.max(), strict=True)]
            shares = [rng.permutation(share)[:keep] for share, keep in zip(shares, kept, strict=True)]
        return shares
