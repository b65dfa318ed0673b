"""Directions against torch.optim where it has them, else against their own equations in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mpidl.algorithms.direction import DirectionSettings, KeptDirection
from mpidl.config import validate
from mpidl.errors import ConfigError
from mpidl.layout import Layout
from mpidl.rows import new_rows

LAYOUT = Layout(("weight", "bias", "scale"), ((4, 3), (4,), (1,)))
STEPS = 30


def rate(step: int) -> float:
    """Of a schedule that drops, and has a step at 0."""
    return 0.0 if step == 12 else 0.05 if step < 20 else 0.005


def start(agents: int) -> torch.Tensor:
    rows = np.random.default_rng(0).normal(size=(agents, LAYOUT.size))
    # The bias of agent 0 starts at zero: a tensor without a norm.
    rows[0, 12:16] = 0
    return new_rows((agents, LAYOUT.size), torch.float64, "cpu").copy_(torch.from_numpy(rows))


def gradient(x: Any, step: int) -> Any:
    """Of a quadratic that differs from agent to agent and moves from step to step."""
    curvature = np.linspace(0.5, 2, LAYOUT.size)
    return curvature * x - np.cos(step) * np.arange(1, len(x) + 1)[:, None] * curvature[::-1].copy()


def walked(keys: dict[str, Any], agents: int = 3) -> np.ndarray:
    """Where x − ηd goes, all agents in one block."""
    settings = validate(DirectionSettings, {"name": "any", **keys})
    X, G = start(agents), start(agents)
    direction = KeptDirection(settings.rule, LAYOUT, lambda name: torch.zeros_like(X))
    for step in range(STEPS):
        G.copy_(torch.from_numpy(gradient(X.numpy(), step)))
        X.sub_(direction(G, X, step, rate(step)), alpha=rate(step))
    return X.numpy()


OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_goes_where_torch_goes(name):
    kind, keys = OPTIMIZERS[name]
    x = torch.nn.Parameter(start(3))
    optimizer = kind([x], lr=1.0, **keys)
    for step in range(STEPS):
        x.grad = torch.from_numpy(gradient(x.detach().numpy(), step))
        optimizer.param_groups[0]["lr"] = rate(step)
        optimizer.step()
    assert np.abs(walked({"direction": name}) - x.detach().numpy()).max() <= 1e-12


def by_tensor(row: np.ndarray) -> list[np.ndarray]:
    return np.split(row, np.cumsum(LAYOUT.sizes)[:-1])


def test_lars_goes_where_its_equations_go():
    X = start(3).numpy().copy()
    M = np.zeros_like(X)
    for step in range(STEPS):
        G = gradient(X, step)
        for x, m, g in zip(X, M, G, strict=True):
            for w, v, u in zip(by_tensor(x), by_tensor(m), by_tensor(g), strict=True):
                norms = np.linalg.norm(w), np.linalg.norm(u)
                r = 0.01 * norms[0] / (norms[1] + 1e-8) if all(norms) else 1.0
                v[:] = 0.9 * v + rate(step) * r * u
                # Where the rate is 0, nothing moves.
                w -= v if rate(step) else 0
    assert np.abs(walked({"direction": {"name": "lars", "trust": 0.01}}) - X).max() <= 1e-12


def test_lamb_goes_where_its_equations_go():
    X = start(3).numpy().copy()
    M, V = np.zeros_like(X), np.zeros_like(X)
    for step in range(STEPS):
        G = gradient(X, step)
        M, V = 0.9 * M + 0.1 * G, 0.99 * V + 0.01 * G**2
        U = M / (1 - 0.9 ** (step + 1)) / (np.sqrt(V / (1 - 0.99 ** (step + 1))) + 1e-6) + 0.1 * X
        for x, d in zip(X, U, strict=True):
            for w, u in zip(by_tensor(x), by_tensor(d), strict=True):
                w -= rate(step) * u * (np.linalg.norm(w) / np.linalg.norm(u) if np.linalg.norm(w) else 1)
    keys = {"name": "lamb", "beta2": 0.99, "weight_decay": 0.1}
    assert np.abs(walked({"direction": keys}) - X).max() <= 1e-12


@pytest.mark.parametrize("name", ["adamw", "lars", "lamb"])
def test_the_agents_beside_one_do_not_change_its_bits(name):
    assert np.array_equal(walked({"direction": name}, agents=1)[0], walked({"direction": name}, agents=3)[0])


def test_momentum_is_short_for_that_of_sgd():
    long = {"direction": {"name": "sgd", "momentum": 0.9, "nesterov": True}}
    assert np.array_equal(walked({"momentum": 0.9, "nesterov": True}), walked(long))
    assert np.array_equal(walked(long), walked({"direction": "nesterov"}))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"direction": "adam", "momentum": 0.9}, "momentum: is short for 'direction: {name: sgd, momentum: …}'"),
        ({"direction": "adma"}, "direction.name: direction 'adma' is not known; did you mean 'adam'?"),
        ({"nesterov": True}, "nesterov: Nesterov's step needs momentum above 0"),
        ({"direction": {"name": "sgd", "nesterov": True}}, "direction.nesterov: Nesterov's step needs momentum"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(keys, sentence):
    with pytest.raises(ConfigError) as refused:
        validate(DirectionSettings, {"name": "any", **keys})
    assert str(refused.value).startswith(sentence)
