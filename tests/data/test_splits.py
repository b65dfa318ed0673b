"""Every split: disjoint, within the data, deterministic, in bounded time, and nobody without data unless it is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidl.data import Dataset
from mpidl.data.shares import Shares
from mpidl.data.splits import SPLITS
from mpidl.data.splits.base import apportion, target_sizes
from mpidl.errors import ConfigError
from mpidl.seeding import stream

CASES = settings(max_examples=40, deadline=None, derandomize=True)
# From 1e-4 to 100.
ALPHAS = st.floats(-4, 2).map(lambda power: 10.0**power)


def labelled(labels: np.ndarray, owner: np.ndarray | None = None) -> Dataset:
    x = np.zeros((len(labels), 1), np.float32)
    return Dataset(x, labels, x[:1], labels[:1], owner=owner, classes=int(labels.max()) + 1)


@st.composite
def data_sets(draw: st.DrawFn) -> Dataset:
    """Labels of 1 to 30 classes, from equally frequent to very unequal, with owners."""
    count, classes = draw(st.integers(1, 3000)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    frequencies = rng.dirichlet(np.full(classes, draw(st.sampled_from([0.1, 1.0, 100.0]))))
    owner = rng.integers(0, draw(st.integers(1, 1000)), count)
    return labelled(rng.choice(classes, count, p=frequencies), owner)


AGENTS = st.one_of(st.integers(1, 20), st.integers(1, 1000))
SIGMAS = st.sampled_from([0.0, 0.0, 0.3, 2.0])


def checked(name: str, data: Dataset, agents: int, seed: int, **keys: object) -> Shares | None:
    """The shares, which keep every promise, or None where the split was refused with a sentence."""
    split = SPLITS.parse({"name": name, **keys})
    among = np.flatnonzero(np.arange(len(data)) % 7 != 3) if seed % 2 and len(data) > 1 else None
    try:
        shares = split.assign(data, agents, seed, among)
    except ConfigError as error:
        assert error.key and "\n" not in str(error)
        return None
    assert len(shares) == agents
    together = np.concatenate(shares)
    assert len(np.unique(together)) == len(together)
    assert np.isin(together, np.arange(len(data)) if among is None else among).all()
    assert shares.sizes.min() >= 1
    assert all((np.diff(share) > 0).all() for share in shares)
    again = split.assign(data, agents, seed, among)
    assert all(np.array_equal(first, second) for first, second in zip(shares, again, strict=True))
    assert all("\n" not in warning for warning in shares.warnings)
    return shares


def even(shares: Shares | None) -> bool:
    return shares is None or int(np.ptp(shares.sizes)) <= 1


@CASES
@given(data_sets(), AGENTS, st.integers(0, 9), SIGMAS)
def test_iid_uses_everything(data: Dataset, agents: int, seed: int, sigma: float) -> None:
    shares = checked("iid", data, agents, seed, lognormal=sigma)
    assert (shares is None) == (agents > len(data) - (len(data) + 3) // 7 * (seed % 2 and len(data) > 1))
    assert sigma or even(shares)


@settings(CASES, max_examples=25)
@given(data_sets(), AGENTS, st.integers(0, 9), ALPHAS, st.booleans(), SIGMAS)
def test_dirichlet_class_keeps_every_promise(
    data: Dataset, agents: int, seed: int, alpha: float, equal: bool, sigma: float
) -> None:
    sigma = sigma if equal else 0.0
    shares = checked("dirichlet-class", data, agents, seed, alpha=alpha, equal=equal, lognormal=sigma)
    assert not equal or sigma or even(shares)


@CASES
@given(data_sets(), AGENTS, st.integers(0, 9), ALPHAS, SIGMAS)
def test_dirichlet_agent_keeps_every_promise(data: Dataset, agents: int, seed: int, alpha: float, sigma: float) -> None:
    shares = checked("dirichlet-agent", data, agents, seed, alpha=alpha, lognormal=sigma)
    assert sigma or even(shares)


@CASES
@given(data_sets(), AGENTS, st.integers(0, 9), st.integers(1, 5), SIGMAS)
def test_shards_hold_few_classes(data: Dataset, agents: int, seed: int, shards: int, sigma: float) -> None:
    shares = checked("shards", data, agents, seed, shards=shards, lognormal=sigma)
    assert sigma or even(shares)
    if shares is not None and seed % 2 == 0:
        # Cut at N·s − 1 places, C classes in order make at most N·s + C − 1 pieces of one class.
        counts = shares.class_counts(data.labels, data.outputs)
        assert (counts > 0).sum() <= agents * shards + len(np.unique(data.labels)) - 1


@CASES
@given(data_sets(), AGENTS, st.integers(0, 9), SIGMAS)
def test_one_class_means_one(data: Dataset, agents: int, seed: int, sigma: float) -> None:
    shares = checked("one-class", data, agents, seed, lognormal=sigma)
    if shares is not None:
        counts = shares.class_counts(data.labels, data.outputs)
        assert ((counts > 0).sum(axis=1) == 1).all()
        held = counts.sum(axis=0)[np.unique(data.labels)]
        assert seed % 2 or bool(shares.warnings) == bool((held == 0).any())


@CASES
@given(data_sets(), AGENTS, st.integers(0, 9), st.floats(0, 1), SIGMAS)
def test_main_class_has_its_share(data: Dataset, agents: int, seed: int, share: float, sigma: float) -> None:
    shares = checked("main-class", data, agents, seed, share=share, lognormal=sigma)
    if shares is not None and seed % 2 == 0:
        present = np.unique(data.labels)
        counts = shares.class_counts(data.labels, data.outputs)
        mains = counts[np.arange(agents), present[np.arange(agents) % len(present)]]
        assert (np.abs(mains - share * shares.sizes) <= 1 + 1e-6).all()
        assert shares.sizes.sum() > 0.9 * len(data) or shares.warnings or agents > 0.04 * len(data)


@CASES
@given(data_sets(), AGENTS, st.integers(0, 9), st.sampled_from(["all", "largest", "random"]), SIGMAS)
def test_given_never_divides_an_owner(data: Dataset, agents: int, seed: int, owners: str, sigma: float) -> None:
    shares = checked("given", data, agents, seed, owners=owners, lognormal=sigma)
    if shares is not None:
        holders = [set(np.unique(data.owner[share])) for share in shares]
        assert sum(map(len, holders)) == len(set.union(*holders))
        assert owners == "all" or all(len(held) == 1 for held in holders)


def test_given_with_an_agent_per_owner_keeps_their_order() -> None:
    owner = np.array([2, 0, 1, 2, 0, 1, 1])
    shares = SPLITS.parse("given").assign(labelled(np.zeros(7, int), owner), 3, 0)
    assert [owner[share].tolist() for share in shares] == [[0, 0], [1, 1, 1], [2, 2]]


@pytest.mark.parametrize("name", list(SPLITS))
def test_another_seed_is_another_split_and_a_seed_of_its_own_is_kept(name: str) -> None:
    keys = {"dirichlet-class": {"alpha": 1.0}, "dirichlet-agent": {"alpha": 1.0}, "main-class": {"share": 0.5}}
    data = labelled(np.arange(1000) % 10, np.arange(1000) // 10)
    # What the data set says needs no draw, except for whom to leave out.
    split = {"name": name, **keys.get(name, {}), **({"owners": "random"} if name == "given" else {})}

    def shares(run_seed: int, agents: int = 20, **more: int) -> list[list[int]]:
        return [share.tolist() for share in SPLITS.parse({**split, **more}).assign(data, agents, run_seed)]

    assert shares(1) != shares(2)
    assert shares(1, seed=7) == shares(2, seed=7)


@pytest.mark.parametrize("name", ["dirichlet-class", "dirichlet-agent", "shards", "one-class", "main-class"])
def test_a_split_by_class_of_a_regression_is_refused(name: str) -> None:
    keys = {"dirichlet-class": {"alpha": 1.0}, "dirichlet-agent": {"alpha": 1.0}, "main-class": {"share": 0.5}}
    x = np.zeros((9, 2))
    data = Dataset(x, x, x, x, task="regression")
    with pytest.raises(ConfigError, match="has no class labels, which this split needs; use iid or given"):
        SPLITS.parse({"name": name, **keys.get(name, {})}).assign(data, 3, 0)


def test_an_agent_without_an_example_is_an_error_that_names_it() -> None:
    data = labelled(np.array([0] * 50 + [1]))
    with pytest.raises(ConfigError, match="one-class leaves agent 3 without a single example"):
        SPLITS.parse("one-class").assign(data, 4, 0)


def test_more_agents_than_examples_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 training examples are not enough for 4 agents"):
        SPLITS.parse("iid").assign(labelled(np.zeros(3, int)), 4, 0)


def test_a_shard_holds_an_example_at_least() -> None:
    split = SPLITS.parse({"name": "shards", "shards": 2})
    assert split.assign(labelled(np.arange(8) % 4), 4, 0).sizes.tolist() == [2] * 4
    with pytest.raises(ConfigError, match="4 agents with 2 shards each need 8 training examples, and there are 7"):
        split.assign(labelled(np.arange(7) % 4), 4, 0)


def test_classes_that_nobody_holds_are_said() -> None:
    shares = SPLITS.parse("one-class").assign(labelled(np.arange(100) % 10), 8, 0)
    assert shares.warnings == ["no agent holds classes 8, 9: there are fewer agents than classes"]


def test_a_draw_that_cannot_be_even_enough_is_said() -> None:
    data = labelled(np.arange(1000) % 2)
    shares = SPLITS.parse({"name": "dirichlet-class", "alpha": 1e-3}).assign(data, 10, 0)
    assert "no draw with alpha 0.001 gave each of agents 0, 1, 2, 3, 4 and 5 more half the mean" in shares.warnings[0]


def test_dirichlet_shares_are_equal_unless_they_may_be_unequal() -> None:
    data = labelled(np.arange(2000) % 10)

    def sizes(**keys: bool) -> np.ndarray:
        return SPLITS.parse({"name": "dirichlet-class", "alpha": 0.1, **keys}).assign(data, 10, 0).sizes

    assert set(sizes()) == set(sizes(equal=True)) == {200}
    # Nobody has less than half the mean, and at this alpha somebody has far more than it.
    assert sizes(equal=False).sum() == 2000 and sizes(equal=False).min() >= 100 and sizes(equal=False).max() > 250


def test_unequal_dirichlet_shares_with_log_normal_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="log-normal sizes need equal: true"):
        SPLITS.parse({"name": "dirichlet-class", "alpha": 1, "equal": False, "lognormal": 0.3})


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=50), st.integers(0, 10_000))
@CASES
def test_apportionment_is_whole_and_within_one(weights: list[float], total: int) -> None:
    parts = apportion(np.array(weights), total)
    exact = np.array(weights) / sum(weights) * total
    assert parts.sum() == total and (np.abs(parts - exact) < 1 + 1e-6).all() and (parts >= 0).all()


def test_log_normal_sizes_have_the_deviation_asked_for() -> None:
    sizes = target_sizes(10_000_000, 5000, 0.7, stream(1, "split"))
    assert sizes.sum() == 10_000_000 and sizes.min() >= 1
    assert abs(np.log(sizes).std() - 0.7) < 0.02
