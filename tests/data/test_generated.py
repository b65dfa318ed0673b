"""Generated data have the distributions, and quadratics the optimum, that their docstrings promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpidl.data import DATA, Dataset
from mpidl.data.generated import optimum
from mpidl.seeding import stream


def load(name: str, **keys: object) -> Dataset:
    return DATA.parse({"name": name, **keys}).load()


@pytest.mark.parametrize("name", ["synthetic", "quadratics", "blobs"])
def test_generated_data_depend_on_their_own_seed_alone(name: str) -> None:
    one, same, other = load(name, seed=3), load(name, seed=3), load(name, seed=4)
    assert np.array_equal(one.x, same.x) and np.array_equal(one.y_test, same.y_test)
    assert one.x.shape != other.x.shape or not np.allclose(one.x, other.x)


def test_synthetic_features_have_the_covariance_of_the_papers() -> None:
    data = load("synthetic", alpha=0, beta=0, owners=4, average=20000, theta=0, iid_features=True)
    assert len(data) == 80000 and data.outputs == 5
    covariance = np.cov(data.x.T)
    expected = np.arange(1, 31) ** -1.2
    assert np.allclose(np.diag(covariance), expected, rtol=0.05)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.02
    assert np.abs(data.x.mean(axis=0)).max() < 0.02


def test_synthetic_sizes_are_log_normal() -> None:
    owners = np.bincount(load("synthetic", owners=1000, average=200, theta=0.5, dimension=2).owner)
    assert abs(np.log(owners).mean() - np.log(200)) < 0.05 and abs(np.log(owners).std() - 0.5) < 0.05


def test_synthetic_sizes_may_have_a_number_added_to_them() -> None:
    """As in FedProx, ⌊LogNormal(4, 2)⌋ + 50: nobody has fewer than 50, and the rest is what is drawn without it."""
    keys = {"owners": 30, "average": 54.598, "theta": 2.0, "dimension": 2, "seed": 3}
    plain, added = (load("synthetic", extra=extra, **keys) for extra in (0, 50))
    sizes, more = np.bincount(plain.owner), np.bincount(added.owner)
    assert sizes.min() < 10 and more.min() >= 50
    drawn = stream(3, "synthetic").lognormal(np.log(54.598), 2.0, 30)
    assert more.tolist() == [int(size) + 50 for size in drawn]
    assert sizes.tolist() == [max(1, int(size)) for size in drawn]


@pytest.mark.parametrize("beta", [0.0, 3.0])
def test_beta_moves_the_owners_features_apart(beta: float) -> None:
    data = load("synthetic", beta=beta, owners=300, average=50, dimension=20)
    centers = np.array([data.x[data.owner == owner].mean() for owner in range(300)])
    # The mean of v_k over 20 coordinates: N(0, β) and the mean of 20 draws of N(0, 1).
    assert abs(centers.std() / np.sqrt(beta**2 + 1 / 20) - 1) < 0.15


def agreement(data: Dataset) -> float:
    """How well a linear model fitted to one owner's examples does on the next one's."""
    right = []
    for owner in range(12):
        own, other = data.owner == owner, data.owner == (owner + 1) % 12
        inputs, targets = np.c_[data.x[own], np.ones(own.sum())], np.eye(data.outputs)[data.y[own]]
        fitted = np.linalg.lstsq(inputs, targets, rcond=None)[0]
        right.append(np.mean(np.argmax(np.c_[data.x[other], np.ones(other.sum())] @ fitted, 1) == data.y[other]))
    return float(np.mean(right))


def test_owners_share_a_solution_only_where_it_is_said() -> None:
    keys = {"owners": 12, "average": 400, "dimension": 5, "iid_features": True}
    shared = agreement(load("synthetic", iid_solutions=True, **keys))
    assert shared > 0.7 > 0.5 > agreement(load("synthetic", **keys))


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("weights", ["uniform", "data"])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_the_optimum_of_quadratics_has_no_gradient(outputs: int, weights: str, decay: float) -> None:
    source = DATA.parse({"name": "quadratics", "outputs": outputs, "unequal": True, "owners": 6})
    data = source.load()
    shares = source.deal(data, 6, 0)
    assert len(set(shares.sizes)) == 6
    module = torch.nn.Linear(5, outputs, dtype=torch.float64)
    solution = optimum(data, shares, weights, weight_decay=decay)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(solution), module.parameters())
    total = torch.zeros((), dtype=torch.float64)
    for share in shares:
        weight = 1 / 6 if weights == "uniform" else len(share) / shares.sizes.sum()
        x, y = torch.from_numpy(data.x[share]), torch.from_numpy(data.y[share])
        total = total + weight * torch.nn.functional.mse_loss(module(x), y)
    total = total + decay / 2 * sum((parameter**2).sum() for parameter in module.parameters())
    total.backward()
    assert max(float(parameter.grad.abs().max()) for parameter in module.parameters()) < 1e-13


def test_the_owners_of_quadratics_disagree_as_asked() -> None:
    keys = {"owners": 200, "examples": 30, "noise": 0.0}
    for wanted in (0.0, 2.0):
        data = load("quadratics", heterogeneity=wanted, **keys)
        solutions = [optimum(data, [np.flatnonzero(data.owner == owner)], bias=False) for owner in range(200)]
        assert np.isclose(np.std(solutions, axis=0).mean(), wanted, rtol=0.1, atol=1e-9)
    variances = load("quadratics", condition=100, owners=50, examples=400).x.var(axis=0)
    assert np.isclose(variances[0] / variances[-1], 100, rtol=0.1)


def test_blobs_are_clouds_around_one_center_a_class() -> None:
    data = load("blobs", classes=3, dimension=4, examples=6000, spread=0.25)
    assert np.bincount(data.y).tolist() == [2000] * 3 and len(data.x_test) == 500
    centers = np.array([data.x[data.y == label].mean(axis=0) for label in range(3)])
    assert np.allclose((data.x - centers[data.y]).std(axis=0), 0.25, rtol=0.05)
    assert np.allclose(data.x_test[data.y_test == 1].mean(axis=0), centers[1], atol=0.1)
