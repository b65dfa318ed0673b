"""What federated methods must do by their theory: optima, fixed points, implicit regularizers, adaptive scaling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.algorithms.problems import configuration, run
from tests.algorithms.recurrences import AGENTS, quadratic_terms
from tests.ranks import on_ranks


def terms(agents: int, weighting: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """H_i and h_i of ∇F_i(x) = H_i x − h_i, and the weights of the agents."""
    H, h = quadratic_terms(agents)
    sizes = 30.0 + np.arange(agents)
    return H, h, sizes / sizes.sum() if weighting == "data" else np.full(agents, 1 / agents)


def optimum(agents: int, weighting: str) -> np.ndarray:
    H, h, p = terms(agents, weighting)
    return np.linalg.solve(np.einsum("i,ijk->jk", p, H), p @ h)


def on_squares(algorithm: dict[str, Any], rounds: int, agents: int = AGENTS, **sections: Any) -> Any:
    sections = {"evaluate": {"every": rounds, "models": ["server"]}} | sections
    train = {"rounds": rounds, "precision": "float64", "device": "cpu"}
    data = {"batch": "full"}
    return configuration(algorithm, "squares", agents, data=data, train=train, model="logistic", **sections)


HALF = {"participation": 0.5, "local_steps": 5}


@pytest.mark.parametrize("weighting", ["data", "uniform"])
@on_ranks(2)
def test_feddyn_reaches_the_optimum_with_half_of_the_agents(weighting, comm):
    settings = {"name": "feddyn", "lr": 0.02, "alpha": 1.0, "weight_decay": 0.0, "weighting": weighting, **HALF}
    outcome = run(on_squares(settings, 900, agents=8), comm)
    assert np.abs(outcome.rows[0] - optimum(8, weighting)).max() <= 1e-10
    assert np.abs(optimum(8, "data") - optimum(8, "uniform")).max() > 1e-3


@pytest.mark.parametrize("option", [1, 2])
@on_ranks(2)
def test_scaffold_reaches_the_optimum_with_half_of_the_agents(option, comm):
    settings = {"name": "scaffold", "lr": 0.05, "option": option, **HALF}
    outcome = run(on_squares(settings, 500, agents=8), comm)
    assert np.abs(outcome.rows[0] - optimum(8, "uniform")).max() <= 1e-8


@pytest.mark.parametrize("weighting", ["data", "uniform"])
@on_ranks(2)
def test_fedavg_stops_where_its_closed_form_says(weighting, comm):
    """x = Σ p_i y_i with y_i = A_i x + (I − A_i) H_i⁻¹ h_i and A_i = (I − aH_i)^K, which is not the optimum."""
    lr, steps = 0.05, 5
    settings = {"name": "fedavg", "lr": lr, "local_steps": steps, "weighting": weighting}
    H, h, p = terms(AGENTS, weighting)
    A = np.stack([np.linalg.matrix_power(np.eye(len(h[0])) - lr * Hi, steps) for Hi in H])
    own = np.stack([(np.eye(len(h[0])) - Ai) @ np.linalg.solve(Hi, hi) for Ai, Hi, hi in zip(A, H, h, strict=True)])
    expected = np.linalg.solve(np.eye(len(h[0])) - np.einsum("i,ijk->jk", p, A), p @ own)
    outcome = run(on_squares(settings, 150), comm)
    assert np.abs(outcome.rows[0] - expected).max() <= 1e-8
    assert np.abs(expected - optimum(AGENTS, weighting)).max() > 1e-3


@on_ranks(1)
def test_gradalign_steps_along_the_gradient_of_the_regularized_loss_on_quadratics(comm):
    """∇[f + (β/2)T] = Σ p_i (g_i + β H_i (g_i − ḡ)); with −β the step would differ."""
    beta, start = 0.2, []
    settings = {"name": "gradalign", "lr": 0.5, "beta": beta, "weighting": "data"}
    rows = run(on_squares(settings, 1), comm, before=lambda made: start.append(_row(made))).rows[0]
    H, h, p = terms(AGENTS, "data")
    g = H @ start[0] - h
    spread = g - p @ g
    correction = np.einsum("i,ijk,ik->j", p, H, spread)
    step = (start[0] - rows) / 0.5
    assert np.abs(step - (p @ g + beta * correction)).max() <= 1e-12 * np.abs(step).max()
    assert np.abs(step - (p @ g - beta * correction)).max() > 1e-3


@on_ranks(1)
def test_gradalign_is_second_order_in_beta_on_a_network_and_the_other_sign_first(comm):
    import torch

    betas = (0.08, 0.04, 0.02, 0.01)
    errors: dict[int, list[float]] = {1: [], -1: []}
    for beta in betas:
        seen: dict[str, np.ndarray] = {}

        def exact(made: Any, seen: dict[str, np.ndarray] = seen) -> None:
            oracle, agents = made.training.algorithm.oracle, range(AGENTS)
            x = made.rows.flatten().detach()
            G, products = torch.zeros(AGENTS, len(x), dtype=x.dtype), torch.zeros(AGENTS, len(x), dtype=x.dtype)
            for i in agents:
                oracle.whole(i, x, G[i])
            for i in agents:
                oracle.hessian_product(i, x, 0, G[i] - G.mean(0), products[i])
            seen |= {"x": x.numpy().copy(), "f": G.mean(0).numpy(), "T": products.mean(0).numpy()}

        settings = {"name": "gradalign", "lr": 1.0, "beta": beta}
        one = {"rounds": 1, "precision": "float64", "device": "cpu"}
        network = {"name": "mlp", "hidden": [6], "activation": "tanh"}
        sections = {"model": network, "data": {"batch": "full"}, "evaluate": {"every": 1}}
        config = configuration(settings, train=one, **sections)
        step = -run(config, comm, before=exact).rows[0]
        step += seen["x"]
        for sign, of_sign in errors.items():
            of_sign.append(np.linalg.norm(step - seen["f"] - sign * beta * seen["T"]))
    slopes = {sign: np.polyfit(np.log(betas), np.log(of_sign), 1)[0] for sign, of_sign in errors.items()}
    assert slopes[1] == pytest.approx(2, abs=0.1)
    assert slopes[-1] == pytest.approx(1, abs=0.1)


@on_ranks(1)
def test_scaling_by_adam_is_adam_without_a_first_moment(comm):
    import torch

    from mpidl.experiment.compose import compose

    settings = {"name": "scaled-local-sgd", "lr": 0.01, "beta": 0.9, "weight_decay": 0.01, "floor": 1e-300}
    config = configuration(settings, "squares", 1, model="logistic", train={"rounds": 50, "precision": "float64"})
    composed = compose(config, comm)
    module, batches = composed.rows.module, composed.batches
    optimizer = torch.optim.Adam(module.parameters(), 0.01, betas=(0.0, 0.9), eps=0, weight_decay=0.01)
    for step in range(50):
        x, y = batches.batch(0, step)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(module(x), y).backward()
        optimizer.step()
    expected = torch.cat([value.detach().reshape(-1) for value in module.parameters()]).numpy()
    composed.close()
    assert np.abs(run(config, comm).rows[0] - expected).max() <= 1e-12


@on_ranks(1)
def test_the_statistic_of_oasis_is_the_hessian_s_diagonal_in_expectation(comm):
    """The mean over all 64 vectors of signs, which are equally likely."""
    import itertools

    import torch

    from mpidl.experiment.compose import compose

    composed = compose(on_squares({"name": "scaled-local-sgd", "preconditioner": "oasis"}, 1), comm)
    algorithm, H = composed.training.algorithm, quadratic_terms(AGENTS)[0]
    for agent in (0, AGENTS - 1):
        mean = torch.zeros(1, H.shape[1], dtype=torch.float64)
        for signs in itertools.product((-1.0, 1.0), repeat=H.shape[1]):
            sample = torch.zeros_like(mean)
            algorithm._z.copy_(torch.tensor(signs))
            algorithm.survey(agent, algorithm.x, sample)
            mean += sample / 2 ** H.shape[1]
        assert np.abs(mean[0].numpy() - np.diag(H[agent])).max() <= 1e-12
    composed.close()


@on_ranks(1)
def test_settings_that_mean_nothing_give_the_parent_method(comm):
    base = {"lr": 0.05, "weight_decay": 0.01, "participation": 0.5, "local_steps": 3}
    fedavg = run(configuration(base | {"name": "fedavg"}), comm).rows
    uniform = run(configuration(base | {"name": "fedavg", "weighting": "uniform"}), comm).rows
    for settings, parent in (
        ({"name": "fedprox", "mu": 0.0}, fedavg),
        ({"name": "fedavg", "server": {"name": "momentum", "beta": 0.0}}, fedavg),
        ({"name": "fedavg", "momentum": 0.0, "local_momentum": "keep"}, fedavg),
        ({"name": "fednova"}, fedavg),
        ({"name": "mimelite", "server": "sgd"}, fedavg),
        ({"name": "local-sgd"}, uniform),
        ({"name": "fedga", "beta": 0.0}, uniform),
        ({"name": "fedga", "beta": 0.0, "displacement": "every-step"}, uniform),
        ({"name": "slowmo", "slow_momentum": 0.0}, uniform),
    ):
        rows = run(configuration(base | settings), comm).rows
        assert np.abs(rows - parent).max() <= 1e-12, settings
    assert np.abs(fedavg - uniform).max() > 1e-3
    csgd = run(configuration({"name": "csgd", "momentum": 0.9}), comm).rows
    aligned = run(configuration({"name": "gradalign", "beta": 0.0, "momentum": 0.9}), comm).rows
    assert np.abs(aligned - csgd).max() <= 1e-12


def _row(composed: Any) -> np.ndarray:
    return composed.rows.flatten().detach().numpy().copy()
