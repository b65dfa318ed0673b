"""Decentralized methods as dense recurrences in numpy, from their papers and not from mpidl's code."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tests.algorithms.recurrences import AGENTS, DECAY, DIRECTED, LR, MU, Problem, metropolis

ROUNDS, CLIP, RHO, STEPS = 100, 0.4, 0.1, 3
Matrix = Callable[[int], np.ndarray]
"""W of round t."""


def matchings(agents: int = AGENTS) -> list[np.ndarray]:
    """Pairs that take turns; whoever has no partner keeps its row."""
    phases = []
    for pairs in ([(0, 1), (2, 3), (4, 5)], [(1, 2), (3, 4), (5, 6)], [(6, 0), (1, 5), (2, 4)]):
        W = np.eye(agents)
        for i, j in pairs:
            W[i, i] = W[j, j] = W[i, j] = W[j, i] = 0.5
        phases.append(W)
    return phases


def pushes(agents: int = AGENTS) -> list[np.ndarray]:
    """Directed graphs that take turns: columns sum to 1, rows do not, and each agent sends to few at a time."""
    phases = []
    for part in (DIRECTED[::2], DIRECTED[1::2]):
        A = np.eye(agents)
        for source, target in part:
            A[target, source] = 1
        phases.append(A / A.sum(0))
    return phases


def chain(agents: int = AGENTS) -> list[list[int]]:
    """The neighbours of each agent."""
    return [[j for j in (i - 1, i + 1) if 0 <= j < agents] for i in range(agents)]


def binary_tree(agents: int = AGENTS) -> list[list[int]]:
    parents = {i: (i - 1) // 2 for i in range(1, agents)}
    return [[j for j in range(agents) if parents.get(i) == j or parents.get(j) == i] for i in range(agents)]


def static(W: np.ndarray) -> Matrix:
    return lambda t: W


def periodic(phases: Sequence[np.ndarray]) -> Matrix:
    return lambda t: phases[t % len(phases)]


def clipped(g: np.ndarray) -> np.ndarray:
    return g * min(1, CLIP / np.linalg.norm(g))


def sharp(problem: Problem, agent: int, row: np.ndarray, t: int) -> np.ndarray:
    """SAM's gradient, without decay."""
    s = problem.gradient(agent, row, t)
    return problem.gradient(agent, row + RHO * s / (np.linalg.norm(s) + 1e-12), t)


def clipped_gradients(problem: Problem, X: np.ndarray, t: int) -> np.ndarray:
    return np.stack([clipped(problem.gradient(i, x, t)) for i, x in enumerate(X)]) + DECAY * X


class HeavyBall:
    """m = μm + g; Nesterov's step is g + μm."""

    def __init__(self, nesterov: bool = False) -> None:
        self.m, self.nesterov = 0.0, nesterov

    def __call__(self, G: np.ndarray) -> np.ndarray:
        self.m = MU * self.m + G
        return G + MU * self.m if self.nesterov else self.m


class Adam:
    """With decoupled weight decay."""

    def __init__(self, decay: float = 0.0) -> None:
        self.m, self.v, self.s, self.decay = 0.0, 0.0, 0, decay

    def __call__(self, G: np.ndarray, X: np.ndarray) -> np.ndarray:
        self.s += 1
        self.m, self.v = 0.9 * self.m + 0.1 * G, 0.999 * self.v + 0.001 * G**2
        m, v = self.m / (1 - 0.9**self.s), self.v / (1 - 0.999**self.s)
        return m / (np.sqrt(v) + 1e-8) + self.decay * X


def local_dsgd(problem: Problem, X: np.ndarray, W: Matrix) -> np.ndarray:
    direction = HeavyBall(nesterov=True)
    for t in range(ROUNDS):
        for step in range(STEPS * t, STEPS * (t + 1)):
            X = X - LR * direction(clipped_gradients(problem, X, step))
        X = W(t) @ X
    return X


def adamw_dsgd(problem: Problem, X: np.ndarray, W: Matrix) -> np.ndarray:
    direction = Adam(decay=0.02)
    for t in range(ROUNDS):
        X = W(t) @ (X - LR * direction(problem.gradients(X, t), X))
    return X


def sharp_dsgd(problem: Problem, X: np.ndarray, W: Matrix) -> np.ndarray:
    direction = HeavyBall()
    for t in range(ROUNDS):
        G = np.stack([sharp(problem, i, x, t) for i, x in enumerate(X)]) + DECAY * X
        X = W(t) @ X - LR * direction(G)
    return X


def noloco(problem: Problem, X: np.ndarray, W: Matrix) -> np.ndarray:
    direction, m = Adam(), 0.0
    for t in range(ROUNDS):
        Y = X
        for step in range(STEPS * t, STEPS * (t + 1)):
            Y = Y - LR * direction(problem.gradients(Y, step), Y)
        m = 0.4 * m + 0.8 * (W(t) @ Y - X)
        X = X + m
    return X


def qgm(problem: Problem, X: np.ndarray, W: Matrix, slow: float = MU, nesterov: bool = False) -> np.ndarray:
    m_hat = 0.0
    for t in range(ROUNDS):
        G = clipped_gradients(problem, X, t)
        m = MU * m_hat + G
        before, X = X, W(t) @ (X - LR * (G + MU * m if nesterov else m))
        m_hat = slow * m_hat + (1 - slow) * (before - X) / LR
    return X


def warmed(t: int) -> float:
    """The rate of a run whose warm-up begins at 0."""
    return LR * min(1, t / 10)


def warm_qgm(problem: Problem, X: np.ndarray, W: Matrix) -> np.ndarray:
    m_hat = 0.0
    for t in range(ROUNDS):
        m = MU * m_hat + problem.gradients(X, t)
        before, X = X, W(t) @ (X - warmed(t) * m)
        if warmed(t):
            m_hat = MU * m_hat + (1 - MU) * (before - X) / warmed(t)
    return X


def q_saddle(problem: Problem, X: np.ndarray, W: Matrix) -> np.ndarray:
    m_hat = 0.0
    for t in range(ROUNDS):
        G = np.stack([clipped(sharp(problem, i, x, t)) for i, x in enumerate(X)]) + DECAY * X
        before, X = X, W(t) @ (X - LR * (MU * m_hat + G))
        m_hat = MU * m_hat + (1 - MU) * (before - X) / LR
    return X


def diging(problem: Problem, X: np.ndarray, W: Matrix) -> np.ndarray:
    """The usual form: x first, then the tracker with the gradient at the new x."""
    last = Y = problem.gradients(X, 0)
    for t in range(ROUNDS):
        # The tracker of round 0 is its gradient alone, so this form mixes what ours mixed in the round after.
        X = W(t) @ X - LR * Y
        G = problem.gradients(X, t + 1)
        Y, last = W(t + 1) @ Y + G - last, G
    return X


def combined_tracking(problem: Problem, X: np.ndarray, W: Matrix) -> np.ndarray:
    Y, last = np.zeros_like(X), 0.0
    for t in range(ROUNDS):
        G = problem.gradients(X, t)
        Y, last = W(t) @ (Y + G - last), G
        X = W(t) @ (X - LR * Y)
    return X


def d2(problem: Problem, X: np.ndarray, W: Matrix) -> np.ndarray:
    """The published form, which has no correction: x⁺ = W(2x − x⁻ − η(d − d⁻)), for a rate that stays."""
    direction, before, last = HeavyBall(), None, 0.0
    for t in range(ROUNDS):
        D = direction(problem.gradients(X, t))
        new = W(t) @ (X - LR * D if before is None else 2 * X - before - LR * (D - last))
        X, before, last = new, X, D
    return X


def d2_in_steps(problem: Problem, X: np.ndarray, W: Matrix, rate: Callable[[int], float]) -> np.ndarray:
    """The same for a rate that changes, by the correction that holds ηd."""
    c = 0.0
    for t in range(ROUNDS):
        c = c * rate(t) / rate(t - 1) if t and rate(t - 1) else c
        U = -rate(t) * problem.gradients(X, t)
        new = W(t) @ (X + U + c)
        X, c = new, new - X - U
    return X


def sgp(problem: Problem, X: np.ndarray, A: Matrix, gamma: float = 1.0) -> np.ndarray:
    direction, omega = HeavyBall(), np.ones(AGENTS)
    for t in range(ROUNDS):
        B = (1 - gamma) * np.eye(AGENTS) + gamma * A(t)
        Z = X / omega[:, None]
        X, omega = B @ (X - LR * direction(problem.gradients(Z, t))), B @ omega
    return X / omega[:, None]


Slope = Callable[[Problem, int, np.ndarray, int], np.ndarray]


def plain(problem: Problem, agent: int, row: np.ndarray, t: int) -> np.ndarray:
    return problem.gradient(agent, row, t)


def ngc(problem: Problem, X: np.ndarray, W: Matrix, a: float = 1.0, slope: Slope = plain) -> np.ndarray:
    direction = HeavyBall()
    for t in range(ROUNDS):
        mixed, G = W(t) @ X, np.zeros_like(X)
        cross = {
            (i, j): clipped(slope(problem, i, mixed[i] if i == j else X[j], t))
            for i, j in np.argwhere(W(t) + np.eye(AGENTS)).tolist()
        }
        for i, j in cross:
            G[i] += W(t)[i, j] * ((1 - a) * cross[i, j] + a * cross[j, i])
        X = mixed - LR * direction(G + DECAY * mixed)
    return X


def largest(v: np.ndarray) -> np.ndarray:
    """The 30 % that are largest."""
    kept = np.argsort(-np.abs(v), kind="stable")[: max(1, round(0.3 * len(v)))]
    return np.where(np.isin(np.arange(len(v)), kept), v, 0)


def packed_ngc(problem: Problem, X: np.ndarray, W: Matrix) -> np.ndarray:
    direction, errors = HeavyBall(), dict.fromkeys(map(tuple, np.argwhere(W(0) + np.eye(AGENTS)).tolist()), 0.0)
    for t in range(ROUNDS):
        mixed, G, sent = W(t) @ X, np.zeros_like(X), {}
        for i, j in errors:
            v = clipped(problem.gradient(i, mixed[i] if i == j else X[j], t)) + errors[i, j]
            sent[i, j] = largest(v)
            errors[i, j] = v - sent[i, j]
        for i, j in errors:
            G[i] += W(t)[i, j] * sent[j, i]
        X = mixed - LR * direction(G + DECAY * mixed)
    return X


def relay(problem: Problem, X: np.ndarray, neighbours: list[list[int]]) -> np.ndarray:
    direction, start = HeavyBall(), X[0]
    edges = [(i, j) for i in range(AGENTS) for j in neighbours[i]]
    M, counts = {edge: np.zeros_like(start) for edge in edges}, dict.fromkeys(edges, 0)
    for t in range(ROUNDS):
        Z = X - LR * direction(problem.gradients(X, t))
        M, counts = (
            {(i, j): Z[i] + sum(M[k, i] for k in neighbours[i] if k != j) for i, j in edges},
            {(i, j): 1 + sum(counts[k, i] for k in neighbours[i] if k != j) for i, j in edges},
        )
        X = np.stack(
            [
                Z[i]
                + sum(M[j, i] for j in neighbours[i])
                + (AGENTS - 1 - sum(counts[j, i] for j in neighbours[i])) * start
                for i in range(AGENTS)
            ]
        )
        X = X / AGENTS
    return X


IRREGULAR, PAIRS = static(metropolis()), periodic(matchings())
HALVED = static((np.eye(AGENTS) + metropolis()) / 2)
