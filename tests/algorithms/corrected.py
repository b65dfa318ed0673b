"""Dense recurrences in numpy of federated methods that correct, align or scale what agents step along."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.algorithms.averaging import (
    RHO,
    ROUNDS,
    STEPS,
    Vector,
    by_data,
    descend,
    k_steps,
    sampled,
    two_passes,
)
from tests.algorithms.recurrences import AGENTS, DECAY, LR, Problem, generator


def scaffold(
    option: int,
    weigh: Callable[..., dict[int, float]],
    work: Callable[..., range] = two_passes,
    server: float = 0.9,
    rounds: int = ROUNDS,
) -> Callable[..., Vector]:
    def recurrence(problem: Problem, x: Vector) -> Vector:
        c, own, q = np.zeros_like(x), np.zeros((AGENTS, len(x))), weigh(problem, range(AGENTS))
        rho = RHO if option == 1 else 0.0
        for t in range(rounds):
            S, new, Y = sampled(t), {}, {}
            p = weigh(problem, S)
            for i in S:
                steps = work(problem, i, t)
                Y[i] = descend(problem, i, x, steps, lambda g, y, step, i=i, c=c: g - own[i] + c, rho=rho)[0]
                if option == 1:
                    new[i] = problem.whole(i, x) + DECAY * x
                else:
                    new[i] = own[i] - c + (x - Y[i]) / (len(steps) * LR)
            x = x + server * sum(p[i] * (Y[i] - x) for i in S)
            c = c + sum(q[i] * (new[i] - own[i]) for i in S)
            for i in S:
                own[i] = new[i]
        return x

    return recurrence


def feddyn(weigh: Callable[..., dict[int, float]], clip: float | None = None) -> Callable[..., tuple[Vector, ...]]:
    """The models `server`, `sampled` and `all`; with `clip` as the authors' code clips."""

    def recurrence(problem: Problem, x: Vector) -> tuple[Vector, ...]:
        alpha, w = 0.5, weigh(problem, range(AGENTS))
        a = {i: alpha / (w[i] * AGENTS) for i in range(AGENTS)}
        g, h, last = np.zeros((AGENTS, len(x))), np.zeros_like(x), np.tile(x, (AGENTS, 1))
        mean = x
        for t in range(ROUNDS):
            S = sampled(t)
            for i in S:
                y = x
                for step in k_steps(problem, i, t):
                    loss = problem.gradient(i, y, step)
                    if clip is None:
                        change = loss + DECAY * y - g[i] + a[i] * (y - x)
                    else:
                        linear = loss - g[i] - a[i] * x
                        linear = linear * min(1.0, clip / np.linalg.norm(linear))
                        change = linear + (DECAY + a[i]) * y
                    y = y - LR * change
                last[i] = y
            for i in S:
                g[i] -= a[i] * (last[i] - x)
            h = h - sum(alpha * (last[i] - x) for i in S) / AGENTS
            mean = sum(last[i] for i in S) / len(S)
            x = mean - h / alpha
        return x, mean, last.mean(0)

    return recurrence


def gradalign(problem: Problem, x: Vector) -> Vector:
    m: Vector = 0.0
    for t in range(ROUNDS):
        S = sampled(t)
        p = by_data(problem, S)
        g = {i: problem.gradient(i, x, t) + DECAY * x for i in S}
        mean = sum(p[i] * g[i] for i in S)
        displaced = {i: x + 0.3 * (g[i] - mean) for i in S}
        total = sum(p[i] * (problem.gradient(i, displaced[i], t) + DECAY * displaced[i]) for i in S)
        m = RHO * m + total
        x = x - LR * m
    return x


def fedga(every_step: bool) -> Callable[..., Vector]:
    def recurrence(problem: Problem, x: Vector) -> Vector:
        for t in range(ROUNDS):
            S = sampled(t)
            p = by_data(problem, S)
            g = {i: problem.whole(i, x) + DECAY * x for i in S}
            mean = sum(p[i] * g[i] for i in S)
            Y = {}
            for i in S:
                d = 0.3 * (g[i] - mean)
                y = x if every_step else x + d
                for step in k_steps(problem, i, t):
                    at = y + d if every_step else y
                    y = y - LR * (problem.gradient(i, at, step) + DECAY * at)
                Y[i] = y
            x = sum(p[i] * Y[i] for i in S)
        return x

    return recurrence


def signs(t: int, length: int) -> Vector:
    drawn = generator("signs", 0, t).bytes(-(-length // 8))
    return 2.0 * np.unpackbits(np.frombuffer(drawn, np.uint8))[:length] - 1


def scaled(kind: str, local: bool, floor: float, inside: bool) -> Callable[..., Vector]:
    beta = 0.9

    def statistic(problem: Problem, i: int, x: Vector, t: int) -> Vector:
        first = t * STEPS
        if kind in ("adam", "rmsprop"):
            return problem.gradient(i, x, first) + DECAY * x
        z = signs(t, len(x))
        return z * problem.hessian_product(i, x, first, z)

    def refreshed(D: Vector, H: Vector, t: int) -> Vector:
        """D, from what it was and the statistic number t."""
        if kind == "oasis":
            D = H if t == 0 else beta * D + (1 - beta) * H
        else:
            b = beta if kind == "rmsprop" else (beta - beta ** (t + 1)) / (1 - beta ** (t + 1))
            D = np.sqrt(b * D**2 + (1 - b) * H**2)
        return np.maximum(floor, np.abs(D)) if inside else D

    def recurrence(problem: Problem, x: Vector) -> Vector:
        D, own, times = np.zeros_like(x), np.zeros((AGENTS, len(x))), np.zeros(AGENTS, int)
        for t in range(ROUNDS):
            S = sampled(t)
            p = by_data(problem, S)
            H = {i: statistic(problem, i, x, t) for i in S}
            D = refreshed(D, sum(p[i] * H[i] for i in S), t)
            Y = {}
            for i in S:
                own[i] = refreshed(own[i], H[i], times[i])
                times[i] += 1
                divisor = np.maximum(floor, np.abs(own[i] if local else D))
                steps = k_steps(problem, i, t)
                Y[i] = descend(problem, i, x, steps, lambda g, y, step, d=divisor: g / d, rho=0.5, lr=0.01)[0]
            x = sum(p[i] * Y[i] for i in S)
        return x

    return recurrence


def mime(lite: bool, adam: bool) -> Callable[..., Vector]:
    def recurrence(problem: Problem, x: Vector) -> Vector:
        m, v = np.zeros_like(x), np.full_like(x, 0.1**2)
        for t in range(ROUNDS):
            S = sampled(t)
            p = by_data(problem, S)
            c = sum(p[i] * (problem.whole(i, x) + DECAY * x) for i in S)

            Y = {}
            for i in S:
                y = x
                for step in k_steps(problem, i, t):
                    g = problem.gradient(i, y, step) + DECAY * y
                    if not lite:
                        g = g - problem.gradient(i, x, step) - DECAY * x + c
                    along = (0.9 * m + 0.1 * g) / (np.sqrt(v) + 0.1) if adam else 0.9 * m + g
                    y = y - 0.02 * along
                Y[i] = y
            x = sum(p[i] * Y[i] for i in S)
            m = 0.9 * m + (0.1 * c if adam else c)
            v = 0.99 * v + 0.01 * c**2
        return x

    return recurrence
