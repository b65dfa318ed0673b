"""Class-sorted pieces."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from mpidl.data.splits.base import Pool, Split, Warn, apportion, cut
from mpidl.errors import ConfigError


class Shards(Split):
    """Examples sorted by class, cut into pieces, `shards` of them at random for each agent [McMahan et al. 2017].

    With equal sizes all pieces are equal to within one; an agent of another size gets pieces of another size.
    """

    shards: int = Field(2, ge=1, description="pieces an agent gets")

    def deal(self, pool: Pool, sizes: np.ndarray, rng: np.random.Generator, warn: Warn) -> list[np.ndarray]:
        if pool.size < self.shards * len(sizes):
            raise ConfigError(
                f"{len(sizes)} agents with {self.shards} shards each need {self.shards * len(sizes)} training "
                f"examples, and there are {pool.size}",
                "data.split.shards",
            )
        order = rng.permutation(pool.size)
        order = order[np.argsort(pool.labels[order], kind="stable")]
        holder = rng.permutation(np.repeat(np.arange(len(sizes)), self.shards))
        lengths = np.empty(len(holder), dtype=np.int64)
        for agent, size in enumerate(sizes):
            lengths[holder == agent] = apportion(np.ones(self.shards), int(size))
        pieces = cut(order, lengths)
        return [np.concatenate([pieces[at] for at in np.flatnonzero(holder == agent)]) for agent in range(len(sizes))]
