"""Data sets that are drawn, not read: clouds of points, least squares with a known optimum, and Synthetic(α, β)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from mpidl.data.dataset import Dataset
from mpidl.data.source import ChosenSplit, Source
from mpidl.data.splits import SPLITS
from mpidl.seeding import stream

Examples = tuple[np.ndarray, np.ndarray]


class Blobs(Source):
    """A Gaussian cloud per class: centers ~ N(0, I) in `dimension` dimensions, examples ~ N(center, spread²·I)."""

    classes: int = Field(4, ge=2, description="clouds")
    dimension: int = Field(8, ge=1, description="features of an example")
    examples: int = Field(1000, ge=1, description="training examples, classes in turn")
    tests: int = Field(500, ge=1, description="test examples, classes in turn")
    spread: float = Field(0.5, ge=0.0, description="standard deviation of a cloud")
    seed: int = Field(0, description="seed of the data, apart from the run's")

    def load(self) -> Dataset:
        rng = stream(self.seed, "blobs")
        centers = rng.standard_normal((self.classes, self.dimension))
        y, y_test = np.arange(self.examples) % self.classes, np.arange(self.tests) % self.classes
        x, x_test = (
            centers[labels] + self.spread * rng.standard_normal((len(labels), self.dimension)) for labels in (y, y_test)
        )
        return Dataset(x, y, x_test, y_test, classes=self.classes)


class Owned(Source):
    """A data set made owner by owner, so that its own division is the one to start from."""

    owners: int = Field(8, ge=1, description="owners to make; the number of agents, as a rule")
    split: ChosenSplit = Field(
        default_factory=lambda: SPLITS.parse("given"),
        description="how the training examples are divided among the agents",
    )


class Quadratics(Owned):
    """Linear regression whose solution differs from owner to owner, so that the objectives F_i are unlike quadratics.

    Owner i has examples x = D z, z ~ N(0, I), D diagonal from 1 down to 1/√condition, and y = x w_i + noise,
    w_i = w + heterogeneity·N(0, I). With a linear model (`logistic` on a regression) and mean squared error,
    F_i(w) = mean (x w + c − y)², and `optimum` gives the minimum of any weighted mean of the F_i.
    """

    examples: int = Field(40, ge=1, description="examples of an owner")
    dimension: int = Field(5, ge=1, description="features of an example")
    outputs: int = Field(1, ge=1, description="numbers to predict")
    condition: float = Field(10.0, ge=1.0, description="ratio of the largest to the smallest feature variance")
    heterogeneity: float = Field(1.0, ge=0.0, description="how far the owners' solutions lie apart")
    noise: float = Field(0.1, ge=0.0, description="standard deviation of what no linear model explains")
    unequal: bool = Field(False, description="owner i has examples·(i + 1)·2/(owners + 1) examples")
    seed: int = Field(0, description="seed of the data, apart from the run's")

    def load(self) -> Dataset:
        common = stream(self.seed, "quadratics").standard_normal((self.dimension, self.outputs))
        deviation = np.logspace(0, -0.5 * np.log10(self.condition), self.dimension)
        train: list[Examples] = []
        test: list[Examples] = []
        for owner in range(self.owners):
            rng = stream(self.seed, "quadratics", owner, 1)
            solution = common + self.heterogeneity * rng.standard_normal(common.shape)
            factor = 2 * (owner + 1) / (self.owners + 1) if self.unequal else 1.0
            for part, count in ((train, max(1, round(self.examples * factor))), (test, max(1, self.examples // 4))):
                x = deviation * rng.standard_normal((count, self.dimension))
                part.append((x, x @ solution + self.noise * rng.standard_normal((count, self.outputs))))
        x, y, x_test, y_test = (np.concatenate([part[at] for part in side]) for side in (train, test) for at in (0, 1))
        owners = np.repeat(np.arange(self.owners), [len(part[0]) for part in train])
        return Dataset(x, y, x_test, y_test, owner=owners, task="regression")


def optimum(
    dataset: Dataset,
    shares: Sequence[np.ndarray],
    weights: Literal["uniform", "data"] = "uniform",
    bias: bool = True,
    weight_decay: float = 0.0,
) -> np.ndarray:
    """The minimum of Σ_i p_i F_i + (weight_decay/2)‖w‖² over linear models, flat as torch.nn.Linear's parameters are.

    F_i is the mean squared error of agent i over examples and outputs; p_i is 1/N, or n_i/Σn with `data`.
    """
    x, y = np.asarray(dataset.x, np.float64), np.asarray(dataset.y, np.float64).reshape(len(dataset), -1)
    if bias:
        x = np.hstack([x, np.ones((len(x), 1))])
    total = sum(len(share) for share in shares)
    left, right = np.zeros((x.shape[1], x.shape[1])), np.zeros((x.shape[1], y.shape[1]))
    for share in shares:
        weight = 1 / len(shares) if weights == "uniform" else len(share) / total
        left += weight / len(share) * x[share].T @ x[share]
        right += weight / len(share) * x[share].T @ y[share]
    # The gradient of a mean over outputs is 2/outputs times the normal equations.
    left += weight_decay * y.shape[1] / 2 * np.eye(len(left))
    solution = np.linalg.solve(left, right)
    features = solution[:-1] if bias else solution
    return np.concatenate([features.T.ravel(), solution[-1]]) if bias else features.T.ravel()


class Synthetic(Owned):
    """Labels of a random linear model per owner [Li et al. 2020 (FedProx), section 5.1; Acar et al. 2021 (FedDyn)].

    For owner k: n_k = ⌊LogNormal(log average, θ)⌋ + extra (at least 1), u_k ~ N(0, α), B_k ~ N(0, β),
    v_k ~ N(B_k, 1)^d, (W_k, b_k) ~ N(u_k, 1), all with standard deviations as second argument; x ~ N(v_k, Σ),
    Σ = diag(j^−1.2) the covariance; y = argmax(xW_k + b_k). With `iid_features` v_k = 0; with `iid_solutions` all
    owners share one (W, b) ~ N(0, 1). Test examples are further draws.

    The defaults are FedDyn's. FedProx's generator has dimension 60, classes 10, owners 30, average 54.598 (the log of
    which is 4), theta 2 and extra 50, and takes its test examples out of the n_k. Random numbers are this package's, so
    that the data are distributed as theirs, and are not theirs.
    """

    alpha: float = Field(1.0, ge=0.0, description="α: how much the owners' classifiers differ")
    beta: float = Field(1.0, ge=0.0, description="β: how much the owners' features differ")
    owners: int = Field(20, ge=1, description="owners to make; the number of agents, as a rule")
    dimension: int = Field(30, ge=1, description="d, features of an example")
    classes: int = Field(5, ge=2, description="C, classes")
    average: float = Field(200.0, ge=1.0, description="examples of a typical owner")
    theta: float = Field(0.3, ge=0.0, le=10.0, description="θ, deviation of log sizes; 0: all the same")
    extra: int = Field(0, ge=0, description="examples that every owner has on top of what is drawn")
    iid_features: bool = Field(False, description="the same feature distribution for all owners")
    iid_solutions: bool = Field(False, description="the same classifier for all owners")
    test: float = Field(0.2, gt=0.0, le=10.0, description="test examples per training example")
    seed: int = Field(0, description="seed of the data, apart from the run's")

    def load(self) -> Dataset:
        rng = stream(self.seed, "synthetic")
        drawn = rng.lognormal(np.log(self.average), self.theta, self.owners)
        # exp(log 200) is a hair below 200.
        sizes = np.maximum(1, np.floor(drawn * (1 + 1e-12)).astype(np.int64) + self.extra)
        u = rng.normal(0, self.alpha, self.owners)
        b = rng.normal(0, self.beta, self.owners)
        deviation = np.arange(1, self.dimension + 1) ** -0.6
        shared = rng.normal(0, 1, (self.dimension + 1, self.classes))
        train: list[Examples] = []
        test: list[Examples] = []
        for owner, size in enumerate(sizes):
            own = stream(self.seed, "synthetic", owner, 1)
            center = own.normal(b[owner], 1, self.dimension)
            solution = own.normal(u[owner], 1, (self.dimension + 1, self.classes))
            center = np.zeros(self.dimension) if self.iid_features else center
            solution = shared if self.iid_solutions else solution
            for part, count in ((train, int(size)), (test, max(1, round(self.test * int(size))))):
                x = center + deviation * own.standard_normal((count, self.dimension))
                part.append((x, np.argmax(x @ solution[:-1] + solution[-1], axis=1)))
        x, y, x_test, y_test = (np.concatenate([part[at] for part in side]) for side in (train, test) for at in (0, 1))
        return Dataset(x, y, x_test, y_test, owner=np.repeat(np.arange(self.owners), sizes), classes=self.classes)
