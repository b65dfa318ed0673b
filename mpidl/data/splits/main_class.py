"""A main class for each agent, and a mixture of the others."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from mpidl.data.splits.base import Pool, Split, Warn, cut
from mpidl.errors import ConfigError


class MainClass(Split):
    """A given share of each agent's examples is of its main class, the rest of all others [Chezhegov et al. 2024].

    Agent i's main class is the (i mod C)-th of the C present. The share is exact to one example: where a class has too
    few examples for all whose main class it is, every agent gets fewer, by the same factor, and a warning says so.
    """

    share: float = Field(description="share of the main class in an agent's examples", ge=0.0, le=1.0)

    def deal(self, pool: Pool, sizes: np.ndarray, rng: np.random.Generator, warn: Warn) -> list[np.ndarray]:
        labels = pool.labels
        names, labels = np.unique(labels, return_inverse=True)
        main = np.arange(len(sizes)) % len(names)
        mains, others = self._amounts(np.bincount(labels), sizes, main)
        used = int((mains + others).sum())
        if np.any(mains + others == 0):
            raise ConfigError(
                f"{self.share:g} of a main class cannot be had by {len(sizes)} agents from {pool.size} examples "
                f"of {len(names)} classes",
                "data.split.share",
            )
        if used < 0.99 * pool.size:
            warn(f"{used} of {pool.size} examples are used: more would change the share of the main class")
        shares: list[list[np.ndarray]] = [[] for _ in sizes]
        leftover = []
        for label in range(len(names)):
            items = rng.permutation(np.flatnonzero(labels == label))
            holders = np.flatnonzero(main == label)
            amounts = np.append(mains[holders], len(items) - mains[holders].sum())
            *parts, rest = cut(items, amounts)
            leftover.append(rest)
            for holder, part in zip(holders, parts, strict=True):
                shares[holder].append(part)
        for share, part in zip(
            shares, self._others(labels, rng.permutation(np.concatenate(leftover)), others, main, rng), strict=True
        ):
            share.append(part)
        return [np.concatenate(share) for share in shares]

    def _amounts(self, stock: np.ndarray, sizes: np.ndarray, main: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Examples of the main class and of others for each agent, no more than there are."""
        wanted = np.bincount(main, weights=self.share * sizes, minlength=len(stock))
        beside = np.bincount(main, weights=(1 - self.share) * sizes, minlength=len(stock))
        # What the agents of main class c take from other classes comes on top of what the latter's own agents take.
        elsewhere, there = beside + wanted.sum() - wanted, stock.sum() - stock
        scarcity = np.where(there > 0, elsewhere / np.maximum(1, there), np.where(elsewhere > 0, np.inf, 0.0))
        demands = np.concatenate([wanted / stock, scarcity])
        kept = np.floor(sizes / max(1.0, demands.max()) + 1e-9).astype(np.int64)
        mains = np.floor(self.share * kept + 1e-9).astype(np.int64)
        others = np.floor((1 - self.share) * kept + 1e-9).astype(np.int64)
        return mains, others

    @staticmethod
    def _others(
        labels: np.ndarray, items: np.ndarray, amounts: np.ndarray, main: np.ndarray, rng: np.random.Generator
    ) -> list[np.ndarray]:
        """So many of the shuffled items for each agent, none of its main class.

        Items of the own main class are exchanged for others, held elsewhere or by nobody, that fit both holders; the
        amounts leave enough of these, and no exchange makes another wrong.
        """
        holder_main = np.full(len(items), -1)
        holder_main[: amounts.sum()] = np.repeat(main, amounts)
        for label in np.unique(main):
            wrong = np.flatnonzero((labels[items] == label) & (holder_main == label))
            fitting = np.flatnonzero((labels[items] != label) & (holder_main != label))
            chosen = rng.permutation(fitting)[: len(wrong)]
            items[wrong], items[chosen] = items[chosen], items[wrong].copy()
        return cut(items[: amounts.sum()], amounts)
