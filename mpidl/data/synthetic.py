"""Synthetic(α, β): a linear classifier and a feature distribution of its own for each agent."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from mpidl.data.dataset import Dataset
from mpidl.data.source import ChosenSplit, Source
from mpidl.data.splits import SPLITS
from mpidl.seeding import stream


class Synthetic(Source):
    """Labels of a random linear model per owner [Li et al. 2020 (FedProx), section 5.1; Acar et al. 2021 (FedDyn)].

    For owner k: n_k = ⌊LogNormal(log average, θ)⌋ (at least 1), u_k ~ N(0, α), B_k ~ N(0, β), v_k ~ N(B_k, 1)^d,
    (W_k, b_k) ~ N(u_k, 1), all with standard deviations as second argument; x ~ N(v_k, Σ), Σ = diag(j^−1.2) the
    covariance; y = argmax(xW_k + b_k). With `iid_features` v_k = 0; with `iid_solutions` all owners share one
    (W, b) ~ N(0, 1). Test examples are further draws. The defaults are FedDyn's; FedProx has d 60, C 10, 30 owners.
    """

    alpha: float = Field(1.0, ge=0.0, description="α: how much the owners' classifiers differ")
    beta: float = Field(1.0, ge=0.0, description="β: how much the owners' features differ")
    owners: int = Field(20, ge=1, description="owners to make; the number of agents, as a rule")
    dimension: int = Field(30, ge=1, description="d, features of an example")
    classes: int = Field(5, ge=2, description="C, classes")
    average: float = Field(200.0, ge=1.0, description="examples of a typical owner")
    theta: float = Field(0.3, ge=0.0, le=10.0, description="θ, deviation of log sizes; 0: all the same")
    iid_features: bool = Field(False, description="the same feature distribution for all owners")
    iid_solutions: bool = Field(False, description="the same classifier for all owners")
    test: float = Field(0.2, gt=0.0, le=10.0, description="test examples per training example")
    seed: int = Field(0, description="seed of the data, apart from the run's")
    split: ChosenSplit = Field(  # type: ignore[valid-type]
        default_factory=lambda: SPLITS.parse("given"),
        description="how the training examples are divided among the agents",
    )

    def load(self) -> Dataset:
        rng = stream(self.seed, "synthetic")
        sizes = rng.lognormal(np.log(self.average), self.theta, self.owners)
        # exp(log 200) is a hair below 200.
        sizes = np.maximum(1, np.floor(sizes * (1 + 1e-12))).astype(np.int64)
        u = rng.normal(0, self.alpha, self.owners)
        b = rng.normal(0, self.beta, self.owners)
        deviation = np.arange(1, self.dimension + 1) ** -0.6
        shared = rng.normal(0, 1, (self.dimension + 1, self.classes))
        train, test = [], []
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
