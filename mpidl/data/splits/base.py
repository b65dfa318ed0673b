"""What every split has in common: how large the shares should be, and what is checked of every result."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from mpidl.data.shares import Shares
from mpidl.errors import ConfigError, DataError
from mpidl.registry import Part
from mpidl.seeding import stream

if TYPE_CHECKING:
    from mpidl.data.dataset import Dataset

Warn = Callable[[str], None]


class Pool:
    """The examples to divide, numbered 0 to size − 1, with what splits look at."""

    def __init__(self, dataset: Dataset, among: np.ndarray) -> None:
        self._dataset = dataset
        self._among = among
        self.size = len(among)

    @property
    def labels(self) -> np.ndarray:
        """The class of each example."""
        try:
            return self._dataset.labels[self._among]
        except DataError as error:
            raise ConfigError(f"{error}, which this split needs; use iid or given", "data.split.name") from error

    @property
    def owner(self) -> np.ndarray:
        """The owner that the data set names for each example."""
        if self._dataset.owner is None:
            raise ConfigError("'given' needs a data set that names owners, which this one does not", "data.split.name")
        return np.asarray(self._dataset.owner)[self._among]


class Split(Part):
    """A rule that divides the training examples among the agents.

    Deterministic from the seed; every example goes to one agent at most; an agent that would get none is an error.
    """

    lognormal: float = Field(
        0.0,
        ge=0.0,
        le=10.0,
        description="σ of log-normal share sizes: LogNormal(log mean, σ), scaled to the number of examples",
    )
    seed: int | None = Field(None, description="seed of the split alone, so that runs of other seeds share it")

    @abstractmethod
    def deal(self, pool: Pool, sizes: np.ndarray, rng: np.random.Generator, warn: Warn) -> list[np.ndarray]:
        """Positions in the pool for each agent; `sizes`, which add up to the pool, are what to aim at."""

    def assign(self, dataset: Dataset, agents: int, seed: int, among: np.ndarray | None = None) -> Shares:
        """Indices of training examples for each agent, out of those in `among` (all, unless given)."""
        among = np.arange(len(dataset)) if among is None else among
        if len(among) < agents:
            raise ConfigError(f"{len(among)} training examples are not enough for {agents} agents", "agents")
        rng = stream(seed if self.seed is None else self.seed, "split")
        shares = Shares([])
        sizes = target_sizes(len(among), agents, self.lognormal, rng)
        positions = self.deal(Pool(dataset, among), sizes, rng, shares.warnings.append)
        shares.extend(np.sort(among[part]) for part in positions)
        empty = np.flatnonzero(shares.sizes == 0)
        if len(empty):
            raise ConfigError(
                f"{self.name} leaves {listed(empty, 'agent')} without a single example; use fewer agents, "
                "another seed, or a milder split",
                "data.split",
            )
        return shares


def target_sizes(examples: int, agents: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Sizes that add up to `examples`, none of them 0: equal to within one, or log-normal."""
    if sigma == 0:
        return examples // agents + (np.arange(agents) < examples % agents).astype(np.int64)
    weights = np.exp(sigma * rng.standard_normal(agents))
    return 1 + apportion(weights, examples - agents)


def apportion(weights: np.ndarray, total: int) -> np.ndarray:
    """`total` as whole numbers in proportion to the weights, by largest remainder; ties go to the lowest index."""
    exact = weights / weights.sum() * total
    whole = np.floor(exact).astype(np.int64)
    missing = total - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:missing]] += 1
    return whole


def cut(items: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
    """Consecutive pieces of the given sizes."""
    return np.split(items, np.cumsum(sizes)[:-1])[: len(sizes)]


def listed(numbers: np.ndarray, noun: str) -> str:
    """`agent 3`, `agents 3, 4`, or `agents 3, 4, 5, 6, 7 and 12 more`."""
    shown = ", ".join(str(number) for number in numbers[:5])
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"{noun}{'s' if len(numbers) > 1 and not noun.endswith('s') else ''} {shown}{more}"
