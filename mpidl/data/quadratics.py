"""Least squares, different for every agent, with a known optimum: for checking algorithms exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from mpidl.data.dataset import Dataset
from mpidl.data.source import ChosenSplit, Source
from mpidl.data.splits import SPLITS
from mpidl.seeding import stream


class Quadratics(Source):
    """Linear regression whose solution differs from owner to owner, so that the objectives F_i are unlike quadratics.

    Owner i has examples x = D z, z ~ N(0, I), D diagonal from 1 down to 1/√condition, and y = x w_i + noise,
    w_i = w + heterogeneity·N(0, I). With a linear model (`logistic` on a regression) and mean squared error,
    F_i(w) = mean (x w + c − y)², and `optimum` gives the minimum of any weighted mean of the F_i.
    """

    owners: int = Field(8, ge=1, description="owners to make; the number of agents, as a rule")
    examples: int = Field(40, ge=1, description="examples of an owner")
    dimension: int = Field(5, ge=1, description="features of an example")
    outputs: int = Field(1, ge=1, description="numbers to predict")
    condition: float = Field(10.0, ge=1.0, description="ratio of the largest to the smallest feature variance")
    heterogeneity: float = Field(1.0, ge=0.0, description="how far the owners' solutions lie apart")
    noise: float = Field(0.1, ge=0.0, description="standard deviation of what no linear model explains")
    unequal: bool = Field(False, description="owner i has examples·(i + 1)·2/(owners + 1) examples")
    seed: int = Field(0, description="seed of the data, apart from the run's")
    split: ChosenSplit = Field(  # type: ignore[valid-type]
        default_factory=lambda: SPLITS.parse("given"),
        description="how the training examples are divided among the agents",
    )

    def load(self) -> Dataset:
        common = stream(self.seed, "quadratics").standard_normal((self.dimension, self.outputs))
        deviation = np.logspace(0, -0.5 * np.log10(self.condition), self.dimension)
        train, test = [], []
        for owner in range(self.owners):
            rng = stream(self.seed, "quadratics", owner, 1)
            solution = common + self.heterogeneity * rng.standard_normal(common.shape)
            factor = 2 * (owner + 1) / (self.owners + 1) if self.unequal else 1.0
            for part, count in ((train, max(1, round(self.examples * factor))), (test, max(1, self.examples // 4))):
                x = deviation * rng.standard_normal((count, self.dimension))
                part.append((x, x @ solution + self.noise * rng.standard_normal((count, self.outputs))))
        x, y, x_test, y_test = (np.concatenate([part[at] for part in side]) for side in (train, test) for at in (0, 1))
        owner = np.repeat(np.arange(self.owners), [len(part[0]) for part in train])
        return Dataset(x, y, x_test, y_test, owner=owner, task="regression")


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
