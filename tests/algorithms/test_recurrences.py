"""csgd and dsgd against dense recurrences in numpy: their own gradients, their own mixing matrix, their own batches."""

from __future__ import annotations

import numpy as np
import pytest

from tests.algorithms.problems import configuration, run
from tests.algorithms.recurrences import AGENTS, DECAY, LR, MU, ROUNDS, Problem, dense_ring, quadratic_terms
from tests.ranks import on_ranks


class Momentum:
    def __init__(self, nesterov: bool) -> None:
        self.m, self.nesterov = 0.0, nesterov

    def __call__(self, g: np.ndarray) -> np.ndarray:
        self.m = MU * self.m + g
        return g + MU * self.m if self.nesterov else self.m


def dsgd(order: str, start: np.ndarray, nesterov: bool) -> np.ndarray:
    problem, W, direction, X = Problem(), dense_ring(AGENTS), Momentum(nesterov), start.copy()
    for t in range(ROUNDS):
        if order == "adapt-then-combine":
            X = W @ (X - LR * direction(problem.gradients(X, t)))
        elif order == "adapt-while-communicate":
            X = W @ X - LR * direction(problem.gradients(X, t))
        else:
            X = W @ X
            X = X - LR * direction(problem.gradients(X, t))
    return X


def csgd(weighting: str, start: np.ndarray, nesterov: bool) -> np.ndarray:
    problem, direction, x = Problem(), Momentum(nesterov), start[0].copy()
    p = problem.sizes / problem.sizes.sum() if weighting == "data" else np.full(AGENTS, 1 / AGENTS)
    for t in range(ROUNDS):
        x = x - LR * direction(p @ problem.gradients(np.tile(x, (AGENTS, 1)), t))
    return x[None]


def _settings(name: str, nesterov: bool, **more: str) -> dict:
    return {"name": name, "lr": LR, "momentum": MU, "nesterov": nesterov, "weight_decay": DECAY, **more}


def _trained(settings: dict, comm) -> tuple[np.ndarray, np.ndarray]:
    """The start, and where mpidl goes from it."""
    start: list[np.ndarray] = []

    def keep(composed) -> None:
        algorithm = composed.training.algorithm
        row = algorithm.model(algorithm.models[-1]).reshape(-1, algorithm.state.parameters)[0]
        start.append(np.tile(row.numpy().copy(), (AGENTS, 1)))

    sections = {"model": "logistic", "train": {"rounds": ROUNDS, "precision": "float64"}}
    outcome = run(configuration(settings, agents=AGENTS, **sections), comm, before=keep)
    return start[0], outcome.rows


@pytest.mark.parametrize("nesterov", [False, True], ids=["heavy ball", "nesterov"])
@pytest.mark.parametrize("order", ["adapt-then-combine", "adapt-while-communicate", "combine-then-adapt"])
@on_ranks(3)
def test_dsgd_equals_its_dense_recurrence(order, nesterov, comm):
    start, rows = _trained(_settings("dsgd", nesterov, order=order), comm)
    expected = dsgd(order, start, nesterov)
    assert np.abs(expected - start).max() > 0.1
    assert np.abs(rows - expected).max() <= 1e-12


@pytest.mark.parametrize("nesterov", [False, True], ids=["heavy ball", "nesterov"])
@pytest.mark.parametrize("weighting", ["uniform", "data"])
@on_ranks(3)
def test_csgd_equals_its_recurrence(weighting, nesterov, comm):
    start, rows = _trained(_settings("csgd", nesterov, weighting=weighting), comm)
    assert np.abs(rows - csgd(weighting, start, nesterov)).max() <= 1e-12


@pytest.mark.parametrize("weighting", ["uniform", "data"])
@on_ranks(2)
def test_csgd_reaches_the_optimum_of_heterogeneous_quadratics(weighting, comm):
    H, h = quadratic_terms()
    sizes = 30.0 + np.arange(AGENTS)
    p = sizes / sizes.sum() if weighting == "data" else np.full(AGENTS, 1 / AGENTS)
    optimum = np.linalg.solve(np.einsum("i,ijk->jk", p, H), p @ h)
    outcome = run(_quadratic({"name": "csgd", "lr": 0.1, "weighting": weighting}), comm)
    assert np.abs(outcome.rows[0] - optimum).max() <= 1e-8


@pytest.mark.parametrize("order", ["adapt-then-combine", "adapt-while-communicate", "combine-then-adapt"])
@on_ranks(2)
def test_dsgd_stops_at_the_bias_that_theory_predicts(order, comm):
    """Its fixed point solves (I − W + ηWH)X = ηWh, (I − W + ηH)X = ηh, or (I − W + ηHW)X = ηh: not the optimum."""
    H, h = quadratic_terms()
    d, lr = H.shape[1], 0.1
    W, blocks = np.kron(dense_ring(AGENTS), np.eye(d)), np.zeros((AGENTS * d, AGENTS * d))
    for i in range(AGENTS):
        blocks[i * d : (i + 1) * d, i * d : (i + 1) * d] = H[i]
    identity, right = np.eye(AGENTS * d), lr * h.ravel()
    matrix, right = {
        "adapt-then-combine": (identity - W + lr * W @ blocks, W @ right),
        "adapt-while-communicate": (identity - W + lr * blocks, right),
        "combine-then-adapt": (identity - W + lr * blocks @ W, right),
    }[order]
    expected = np.linalg.solve(matrix, right).reshape(AGENTS, d)
    outcome = run(_quadratic({"name": "dsgd", "lr": lr, "order": order}), comm)
    assert np.abs(outcome.rows - expected).max() <= 1e-8
    optimum = np.linalg.solve(H.mean(0), h.mean(0))
    assert np.abs(expected.mean(0) - optimum).max() > 1e-3


def _quadratic(algorithm: dict):
    train = {"rounds": 400, "precision": "float64"}
    evaluate = {"every": 400, "models": ["server"] if algorithm["name"] == "csgd" else ["local"]}
    return configuration(
        algorithm, "squares", agents=AGENTS, data={"batch": "full"}, train=train, evaluate=evaluate, model="logistic"
    )
