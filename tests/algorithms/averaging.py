"""Dense recurrences in numpy of federated methods that average: functions of the problem and the start.

Half of the agents take part in each of ROUNDS rounds, with weight decay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.algorithms.recurrences import AGENTS, BATCH, DECAY, LR, Problem, generator, permutation

Vector = Any
SHARE, STEPS, ROUNDS, RHO = 0.5, 3, 60, 0.8


def sampled(t: int) -> list[int]:
    return sorted(permutation("sampling", 0, t, AGENTS)[: int(np.ceil(SHARE * AGENTS))].tolist())


def by_data(problem: Problem, agents: Sequence[int]) -> dict[int, float]:
    sizes = problem.sizes[list(agents)]
    return dict(zip(agents, sizes / sizes.sum(), strict=True))


def equally(problem: Problem, agents: Sequence[int]) -> dict[int, float]:
    return dict.fromkeys(agents, 1 / len(agents))


def k_steps(problem: Problem, agent: int, t: int) -> range:
    return range(t * STEPS, (t + 1) * STEPS)


def two_passes(problem: Problem, agent: int, t: int, passes: int = 2) -> range:
    each = -(-problem.sizes[agent] // BATCH)
    return range(2 * t * each, (2 * t + passes) * each)


def descend(
    problem: Problem,
    agent: int,
    y: Vector,
    steps: range,
    change: Callable[[Vector, Vector, int], Vector] = lambda g, y, step: g,
    rho: float = 0.0,
    m: Vector = 0.0,
    nesterov: bool = False,
    lr: float = LR,
) -> tuple[Vector, Vector]:
    """y after these steps along change(∇F + λy), with momentum from m; and that momentum."""
    for step in steps:
        g = change(problem.gradient(agent, y, step) + DECAY * y, y, step)
        m = rho * m + g
        y = y - lr * ((g + rho * m) if nesterov else m)
    return y, m


def local_sgd(problem: Problem, x: Vector) -> Vector:
    m = np.zeros((AGENTS, len(x)))
    for t in range(ROUNDS):
        S = sampled(t)
        Y = {}
        for i in S:
            Y[i], m[i] = descend(problem, i, x, k_steps(problem, i, t), rho=RHO, m=m[i], nesterov=True)
        x = sum(Y.values()) / len(S)
    return x


def fedavg(move: Callable[[], Callable[[Vector], Vector]] = lambda: lambda delta: delta) -> Callable[..., Vector]:
    """With a server made by `move`: what x moves by, from the mean displacement."""

    def recurrence(problem: Problem, x: Vector) -> Vector:
        server = move()
        for t in range(ROUNDS):
            S = sampled(t)
            p = by_data(problem, S)
            Y = {i: descend(problem, i, x, two_passes(problem, i, t), rho=RHO)[0] for i in S}
            x = x + server(sum(p[i] * (Y[i] - x) for i in S))
        return x

    return recurrence


def momentum_server() -> Callable[[Vector], Vector]:
    v: Vector = 0.0

    def server(delta: Vector) -> Vector:
        nonlocal v
        v = 0.7 * v + delta
        return 0.5 * (delta + 0.7 * v)

    return server


def adaptive_server(kind: str) -> Callable[[], Callable[[Vector], Vector]]:
    def make() -> Callable[[Vector], Vector]:
        m: Vector = 0.0
        v: Vector = 0.01**2

        def server(delta: Vector) -> Vector:
            nonlocal m, v
            m = 0.6 * m + 0.4 * delta
            if kind == "adagrad":
                v = v + delta**2
            elif kind == "adam":
                v = 0.9 * v + 0.1 * delta**2
            else:
                v = v - 0.1 * delta**2 * np.sign(v - delta**2)
            return 0.02 * m / (np.sqrt(v) + 0.01)

        return server

    return make


def stragglers(problem: Problem, x: Vector) -> Vector:
    """FedProx, where half of the agents do one or two of two passes."""
    for t in range(ROUNDS):
        S = sampled(t)
        p, random = by_data(problem, S), generator("stragglers", 0, t)
        late = {S[place]: 0 for place in random.permutation(len(S))[: len(S) // 2]}
        late = {i: int(random.integers(1, 2, endpoint=True)) for i in late}
        Y = {}
        for i in S:
            steps = two_passes(problem, i, t, late.get(i, 2))
            Y[i] = descend(problem, i, x, steps, lambda g, y, step, x=x: g + 0.3 * (y - x))[0]
        x = sum(p[i] * Y[i] for i in S)
    return x


def dropped(problem: Problem, x: Vector) -> Vector:
    """Federated averaging without the half of the agents that is late."""
    for t in range(ROUNDS):
        S = sampled(t)
        late = {S[place] for place in generator("stragglers", 0, t).permutation(len(S))[: len(S) // 2]}
        p = by_data(problem, [i for i in S if i not in late])
        x = sum(p[i] * descend(problem, i, x, two_passes(problem, i, t))[0] for i in p)
    return x


def compressed(problem: Problem, x: Vector) -> Vector:
    """Federated averaging of the largest fifth of what each agent sends, which keeps the rest for its next upload."""
    error, k = np.zeros((AGENTS, len(x))), max(1, round(0.2 * len(x)))
    for t in range(ROUNDS):
        S = sampled(t)
        p, sent = by_data(problem, S), {}
        for i in S:
            v = descend(problem, i, x, k_steps(problem, i, t))[0] - x + error[i]
            largest = np.argsort(-np.abs(v), kind="stable")[:k]
            sent[i] = np.zeros_like(v)
            sent[i][largest] = v[largest]
            error[i] = v - sent[i]
        x = x + sum(p[i] * sent[i] for i in S)
    return x


def post_local(problem: Problem, x: Vector) -> Vector:
    """20 rounds of one step, then of three."""
    for t in range(ROUNDS):
        S = sampled(t)
        p = by_data(problem, S)
        steps = range(t, t + 1) if t < 20 else range(20 + 3 * (t - 20), 20 + 3 * (t - 19))
        x = sum(p[i] * descend(problem, i, x, steps)[0] for i in S)
    return x


def fednova(rho: float, mu: float, nesterov: bool = False) -> Callable[..., Vector]:
    def recurrence(problem: Problem, x: Vector) -> Vector:
        for t in range(ROUNDS):
            S = sampled(t)
            p, G, n = by_data(problem, S), {}, {}
            for i in S:
                steps = two_passes(problem, i, t)
                change = lambda g, y, step, x=x: g + mu * (y - x)  # noqa: E731
                G[i] = x - descend(problem, i, x, steps, change, rho=rho, nesterov=nesterov)[0]
                # What the same steps make of gradients that are all 1, divided by the learning rate.
                z = m = 0.0
                for _ in steps:
                    g = 1 + mu * z
                    m = rho * m + g
                    z = z - LR * ((g + rho * m) if nesterov else m)
                n[i] = -z / LR
            x = x - sum(p[i] * n[i] for i in S) * sum(p[i] * G[i] / n[i] for i in S)
        return x

    return recurrence


def slowmo(problem: Problem, x: Vector) -> Vector:
    """The learning rate falls to a tenth after half of the rounds."""
    u: Vector = 0.0
    for t in range(ROUNDS):
        S, a = sampled(t), LR if t < ROUNDS // 2 else LR / 10
        Y = [descend(problem, i, x, k_steps(problem, i, t), rho=RHO, lr=a)[0] for i in S]
        u = 0.5 * u + (x - sum(Y) / len(S)) / a
        x = x - 0.8 * a * u
    return x


def diloco(problem: Problem, x: Vector) -> Vector:
    lr = 0.01
    m, v, taken = np.zeros((AGENTS, len(x))), np.zeros((AGENTS, len(x))), np.zeros(AGENTS, int)
    outer: Vector = 0.0
    for t in range(ROUNDS):
        S = sampled(t)
        Y = {}
        for i in S:
            y = x
            for step in k_steps(problem, i, t):
                g = problem.gradient(i, y, step)
                g = g * min(1.0, 1.0 / np.linalg.norm(g))
                taken[i] += 1
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.95 * v[i] + 0.05 * g**2
                adam = (m[i] / (1 - 0.9 ** taken[i])) / (np.sqrt(v[i] / (1 - 0.95 ** taken[i])) + 1e-8)
                y = y - lr * (adam + 0.1 * y)
            Y[i] = y
        g = x - sum(Y.values()) / len(S)
        outer = 0.9 * outer + g
        x = x - 0.7 * (g + 0.9 * outer)
    return x
