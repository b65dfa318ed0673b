"""What dense recurrences in numpy are made of: their own gradients, mixing matrices, batches and permutations."""

from __future__ import annotations

import hashlib

import numpy as np

from tests.algorithms.problems import CLASSES, FEATURES, classes, squares

AGENTS, SEED, ROUNDS, BATCH = 7, 5, 100, 4
LR, MU, DECAY = 0.05, 0.9, 0.01
# Irregular: agent 0 has five neighbours, others two or three.
EDGES = [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 2), (3, 4), (5, 6), (6, 1)]
DIRECTED = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 0), (0, 3), (2, 6), (5, 1)]


def dense_ring(agents: int) -> np.ndarray:
    W = np.zeros((agents, agents))
    for i in range(agents):
        W[i, i] = W[i, (i - 1) % agents] = W[i, (i + 1) % agents] = 1 / 3
    return W


def metropolis(agents: int = AGENTS) -> np.ndarray:
    """Of the irregular graph."""
    W, degree = np.zeros((agents, agents)), np.bincount(np.ravel(EDGES), minlength=agents)
    for i, j in EDGES:
        W[i, j] = W[j, i] = 1 / (1 + max(degree[i], degree[j]))
    return W + np.diag(1 - W.sum(1))


def out_degree(agents: int = AGENTS) -> np.ndarray:
    """Of the directed graph: columns sum to 1, rows do not."""
    A = np.eye(agents)
    for source, target in DIRECTED:
        A[target, source] = 1
    return A / A.sum(0)


def generator(purpose: str, agent: int, index: int) -> np.random.Generator:
    """Philox, keyed by seed and purpose and counted by (index, agent)."""
    word = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
    key, counter = np.array([SEED, word], dtype=np.uint64), np.array([0, 0, index, agent], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def permutation(purpose: str, agent: int, index: int, length: int) -> np.ndarray:
    return generator(purpose, agent, index).permutation(length)


def batch_indices(owned: np.ndarray, agent: int, step: int) -> np.ndarray:
    """Step s is batch s mod n of pass s div n; each pass is a permutation of its own."""
    turn, place = divmod(step, -(-len(owned) // BATCH))
    return owned[permutation("shuffle", agent, turn, len(owned))[place * BATCH : (place + 1) * BATCH]]


def softmax_gradient(row: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of the mean cross entropy of x·Aᵀ + b, for a row that holds A and then b."""
    A, b = row[: CLASSES * FEATURES].reshape(CLASSES, FEATURES), row[CLASSES * FEATURES :]
    logits = x @ A.T + b
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    p /= len(y)
    return np.concatenate([(p.T @ x).ravel(), p.sum(0)])


def softmax_product(row: np.ndarray, x: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """The Hessian of the mean cross entropy, which knows nothing of the targets, times a vector."""
    (A, b), (V, c) = ((v[: CLASSES * FEATURES].reshape(CLASSES, -1), v[CLASSES * FEATURES :]) for v in (row, vector))
    logits, change = x @ A.T + b, x @ V.T + c
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    dp = p * (change - (p * change).sum(1, keepdims=True)) / len(x)
    return np.concatenate([(dp.T @ x).ravel(), dp.sum(0)])


class Problem:
    """Gradients of agents at rows."""

    def __init__(self) -> None:
        data = classes(AGENTS)
        # The network sees normalised features where the data set asks for it; this one does not.
        self.x, self.y = data.x, data.y
        self.owned = [np.flatnonzero(data.owner == agent) for agent in range(AGENTS)]

    def gradient(self, agent: int, row: np.ndarray, step: int) -> np.ndarray:
        batch = batch_indices(self.owned[agent], agent, step)
        return softmax_gradient(row, self.x[batch], self.y[batch])

    def hessian_product(self, agent: int, row: np.ndarray, step: int, vector: np.ndarray) -> np.ndarray:
        return softmax_product(row, self.x[batch_indices(self.owned[agent], agent, step)], vector)

    def gradients(self, X: np.ndarray, t: int) -> np.ndarray:
        """Of all agents, with weight decay."""
        return np.stack([self.gradient(agent, row, t) for agent, row in enumerate(X)]) + DECAY * X

    def whole(self, agent: int, row: np.ndarray) -> np.ndarray:
        """Over all of the agent's data."""
        return softmax_gradient(row, self.x[self.owned[agent]], self.y[self.owned[agent]])

    @property
    def sizes(self) -> np.ndarray:
        return np.array([len(owned) for owned in self.owned])


def quadratic_terms(agents: int = AGENTS) -> tuple[np.ndarray, np.ndarray]:
    """H_i and h_i of ∇F_i(x) = H_i x − h_i, for the mean squared error of an affine model."""
    data = squares(agents)
    H, h = [], []
    for agent in range(agents):
        own = data.owner == agent
        A = np.hstack([data.x[own], np.ones((own.sum(), 1))])
        H.append(2 * A.T @ A / own.sum())
        h.append(2 * A.T @ data.y[own][:, 0] / own.sum())
    return np.array(H), np.array(h)
