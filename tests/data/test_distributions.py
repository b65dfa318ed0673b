"""Splits by Dirichlet draws follow the published routines in distribution; these are written anew, step by step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mpidl.data import Dataset
from mpidl.data.splits import SPLITS

AGENTS, CLASSES = 16, 10

Counts = Callable[[int], np.ndarray]


def labelled(labels: np.ndarray) -> Dataset:
    x = np.zeros((len(labels), 1), np.uint8)
    return Dataset(x, labels, x[:1], labels[:1], classes=CLASSES)


def ours(name: str, labels: np.ndarray, alpha: float) -> Counts:
    data, split = labelled(labels), SPLITS.parse({"name": name, "alpha": alpha})
    return lambda seed: split.assign(data, AGENTS, seed).class_counts(labels, CLASSES)


def routine_of_qgm(labels: np.ndarray, alpha: float) -> Counts:
    """Groups of ten; class by class p ~ Dir(α), 0 for the full; again until min ≥ half the mean; re-sliced."""

    def draw(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        order = labels[rng.permutation(len(labels))]
        first = int(10 / AGENTS * len(labels))
        dealt: list[int] = []
        for part, members in ((order[:first], 10), (order[first:], AGENTS - 10)):
            stock = np.bincount(part, minlength=CLASSES)
            lists = one_group(stock, members, rng)
            while min(map(len, lists)) < int(0.5 * len(part) / members):
                lists = one_group(stock, members, rng)
            dealt += [label for held in lists for label in held]
        size = len(labels) // AGENTS
        slices = [dealt[agent * size : (agent + 1) * size] for agent in range(AGENTS)]
        return np.array([np.bincount(held, minlength=CLASSES) for held in slices])

    def one_group(stock: np.ndarray, members: int, rng: np.random.Generator) -> list[list[int]]:
        lists: list[list[int]] = [[] for _ in range(members)]
        for label in range(CLASSES):
            p = np.zeros(members)
            while p.sum() == 0:
                # Where all of p fell on the full, the routine divides 0 by 0.
                p = rng.dirichlet(np.full(members, alpha))
                p = np.array(
                    [value * (len(held) < stock.sum() / members) for value, held in zip(p, lists, strict=True)]
                )
            ends = (np.cumsum(p / p.sum()) * stock[label]).astype(int)
            ends[-1] = stock[label]
            for held, start, end in zip(lists, np.r_[0, ends[:-1]], ends, strict=True):
                held += [label] * (end - start)
        return lists

    return draw


def routine_of_feddyn(labels: np.ndarray, alpha: float) -> Counts:
    """Until all are full: draw an agent, again while it is full; draw a label of its prior, of those not used up."""

    def draw(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        priors = rng.dirichlet(np.full(CLASSES, alpha), AGENTS)
        room = np.full(AGENTS, len(labels) // AGENTS)
        stock = np.bincount(labels, minlength=CLASSES)
        counts = np.zeros((AGENTS, CLASSES), int)
        while room.sum():
            agent = rng.integers(AGENTS)
            if room[agent] == 0:
                continue
            # The authors draw again while the class is used up, which can take for ever; this is what it ends in.
            prior = np.cumsum(priors[agent] * (stock > 0))
            label = int(np.argmax(rng.random() * prior[-1] < prior))
            room[agent] -= 1
            stock[label] -= 1
            counts[agent, label] += 1
        return counts

    return draw


def differing(one: np.ndarray, other: np.ndarray) -> float:
    """The two-sample statistic of Kolmogorov and Smirnov, in units of its 1 % critical value."""
    values = np.concatenate([one, other])
    gap = np.searchsorted(np.sort(one), values, "right") / len(one)
    gap -= np.searchsorted(np.sort(other), values, "right") / len(other)
    return float(np.abs(gap).max() / (1.628 * np.sqrt(1 / len(one) + 1 / len(other))))


def assert_alike(ours: Counts, reference: Counts, draws: int) -> None:
    """Equal in distribution, as far as so many draws can tell: per agent and class, and in what papers look at."""
    drawn = np.array([ours(seed) for seed in range(draws)], dtype=float)
    known = np.array([reference(seed) for seed in range(draws)], dtype=float)
    assert np.array_equal(drawn.sum((1, 2)), known.sum((1, 2)))
    spread = np.sqrt((drawn.var(axis=0) + known.var(axis=0)) / draws)
    assert (np.abs(drawn.mean(axis=0) - known.mean(axis=0)) < 4.5 * spread + 1e-9).all()
    share = drawn.sum((1, 2), keepdims=True) / AGENTS
    for statistic in (
        lambda counts: (counts > 0).sum(axis=2).mean(axis=1),  # classes an agent has
        lambda counts: counts.max(axis=2).mean(axis=1),  # the largest class of an agent
        lambda counts: ((counts / share) ** 2).sum(axis=2).mean(axis=1),  # concentration
        lambda counts: (counts > 0).sum(axis=1).max(axis=1),  # agents that share a class
        lambda counts: counts[:, 0].max(axis=1),  # the first agent
        lambda counts: counts[:, -1].max(axis=1),  # the last agent, of the smaller group
    ):
        assert differing(statistic(drawn), statistic(known)) < 1


@pytest.mark.parametrize("alpha", [1.0, 0.1, 0.01])
def test_dirichlet_class_reproduces_the_class_counts_of_the_reference_routine(alpha: float) -> None:
    # CIFAR-10's training labels: as many of each class; a tenth of them, for speed, changes no proportion.
    labels = np.arange(4800) % CLASSES
    assert_alike(ours("dirichlet-class", labels, alpha), routine_of_qgm(labels, alpha), 60)


@pytest.mark.full
@pytest.mark.parametrize("alpha", [0.1, 0.01])
def test_dirichlet_class_reproduces_the_reference_routine_at_full_size(alpha: float) -> None:
    labels = np.arange(50_000) % CLASSES
    assert_alike(ours("dirichlet-class", labels, alpha), routine_of_qgm(labels, alpha), 150)


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_dirichlet_agent_reproduces_the_class_counts_of_the_reference_routine(alpha: float) -> None:
    labels = np.arange(1600) % CLASSES
    assert_alike(ours("dirichlet-agent", labels, alpha), routine_of_feddyn(labels, alpha), 60)


def test_the_comparison_would_notice_another_distribution() -> None:
    labels = np.arange(4800) % CLASSES
    with pytest.raises(AssertionError):
        assert_alike(ours("dirichlet-class", labels, 0.2), routine_of_qgm(labels, 0.1), 60)
    with pytest.raises(AssertionError):
        assert_alike(ours("dirichlet-agent", labels, 0.1), routine_of_qgm(labels, 0.1), 60)
