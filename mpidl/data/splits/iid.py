"""Examples dealt at random."""

from __future__ import annotations

import numpy as np

from mpidl.data.splits.base import Pool, Split, Warn, cut


class Iid(Split):
    """Every agent draws from the same distribution: a random division into equal shares."""

    def deal(self, pool: Pool, sizes: np.ndarray, rng: np.random.Generator, warn: Warn) -> list[np.ndarray]:
        return cut(rng.permutation(pool.size), sizes)
