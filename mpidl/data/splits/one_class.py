"""One class per agent."""

from __future__ import annotations

import numpy as np

from mpidl.data.splits.base import Pool, Split, Warn, apportion, cut, listed


class OneClass(Split):
    """Agent i holds examples of one class alone, the (i mod C)-th of the C present, shared with the others that do.

    Sizes follow from the classes; log-normal sizes decide how agents of the same class share it.
    """

    def deal(self, pool: Pool, sizes: np.ndarray, rng: np.random.Generator, warn: Warn) -> list[np.ndarray]:
        labels = pool.labels
        classes = np.unique(labels)
        if len(classes) > len(sizes):
            warn(f"no agent holds {listed(classes[len(sizes) :], 'classes')}: there are fewer agents than classes")
        shares: list[np.ndarray] = [np.empty(0, np.int64)] * len(sizes)
        for at, label in enumerate(classes[: len(sizes)]):
            holders = np.arange(at, len(sizes), len(classes))
            items = rng.permutation(np.flatnonzero(labels == label))
            if len(items) < len(holders):
                parts = [items[index : index + 1] for index in range(len(holders))]
            else:
                parts = cut(items, 1 + apportion(sizes[holders], len(items) - len(holders)))
            for holder, part in zip(holders, parts, strict=True):
                shares[holder] = part
        return shares
