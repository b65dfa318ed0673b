"""How sharp the loss is around a model: its Hessian, SAM's sharpness, and that in the agents' own directions.

Decentralized SGD minimises the loss averaged over ε ~ N(0, Ξ), Ξ the covariance of its agents [Zhu et al. 2023]: what
that adds to the loss is `average_direction`, and how much smoother it makes the loss, `smoothness`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mpidl.algorithms.sharpness import TINY
from mpidl.analysis.lanczos import Eigenvalues, Estimate, lanczos, trace
from mpidl.analysis.objective import Objective
from mpidl.errors import ConfigError
from mpidl.seeding import stream


class Curvature(NamedTuple):
    """The spectrum of the Hessian, and its trace."""

    eigenvalues: Eigenvalues
    trace: Estimate


class AverageDirection(NamedTuple):
    """E[L(x + ε) − L(x)] over ε ~ N(0, Ξ); its second order ½ Tr(HΞ), exactly; and Tr Ξ."""

    sharpness: Estimate
    second_order: float
    spread: float


class Smoothness(NamedTuple):
    """How much a gradient changes from each point of a trajectory to the next, by their distance.

    `plain` of L, `averaged` of L averaged over ε ~ N(0, Ξ) with the agents' covariance at the first of both points.
    """

    plain: np.ndarray
    averaged: np.ndarray


def hessian(
    L: Objective,
    x: Tensor,
    count: int = 5,
    steps: int = 80,
    tolerance: float = 1e-6,
    probes: int = 16,
    seed: int = 0,
) -> Curvature:
    """The largest eigenvalues of ∇²L(x) and its trace; see `lanczos.lanczos` and `lanczos.trace`.

    Tolerances below 1e-6 need a network in float64.
    """

    def product(vector: Tensor) -> Tensor:
        return L.hessian_product(x, vector)

    found = lanczos(product, L.size, count, steps, tolerance, seed, L.dtype, L.device)
    return Curvature(found, trace(product, found, probes, seed))


def sam(L: Objective, x: Tensor, rho: float) -> float:
    """L(x + ρ ∇L/‖∇L‖) − L(x), what SAM's one step uphill gains [Foret et al. 2021, eq. 2]; over all parameters."""
    g = L.gradient(x)
    return L.value(L.moved(x, g, rho / (float(g.norm()) + TINY))) - L.value(x)


def average_direction(
    L: Objective, x: Tensor, agents: Sequence[Tensor], draws: int = 32, seed: int = 0
) -> AverageDirection:
    """E[L(x + ε) − L(x)] with ε ~ N(0, Ξ), Ξ = 1/N Σ (x_i − x̄)(x_i − x̄)ᵀ over the agents' rows, which is never formed.

    ε = Σ_i ξ_i (x_i − x̄)/√N with ξ ~ N(0, I), each draw taken with both signs. Its second order ½ ε·Hε, whose mean
    ½ Tr(HΞ) = 1/(2N) Σ (x_i − x̄)·H(x_i − x̄) is computed without chance, serves as a control variate with the best
    coefficient: where L is quadratic, nothing is left to chance. Takes N + `draws` Hessian-vector products and twice as
    many losses as draws.
    """
    if draws < 2:
        raise ConfigError("average directions need two draws at least, to tell how certain their mean is")
    spread = Deviations(agents, L.size)
    squares, curved = [], []
    for deviation in spread:
        squares.append(float(torch.dot(deviation, deviation)))
        curved.append(float(torch.dot(deviation, L.hessian_product(x, deviation))))
    second_order = math.fsum(curved) / (2 * len(spread))
    here, risen, quadratic = L.value(x), np.empty(draws), np.empty(draws)
    for draw, epsilon in enumerate(spread.drawn(draws, seed)):
        risen[draw] = (L.value(L.moved(x, epsilon)) - here + L.value(L.moved(x, epsilon, -1.0)) - here) / 2
        quadratic[draw] = float(torch.dot(epsilon, L.hessian_product(x, epsilon))) / 2
    off = quadratic - quadratic.mean()
    variance = float(off @ off)
    coefficient = float(off @ risen) / variance if variance else 0.0
    corrected = risen - coefficient * (quadratic - second_order)
    return AverageDirection(Estimate.of(corrected), second_order, math.fsum(squares) / len(spread))


def smoothness(
    L: Objective, points: Sequence[Tensor], agents: Iterable[Sequence[Tensor]], draws: int = 8, seed: int = 0
) -> Smoothness:
    """‖∇F(x_{t+1}) − ∇F(x_t)‖/‖x_{t+1} − x_t‖ along a trajectory, for F = L and for F(x) = E L(x + ε).

    `agents` are the agents' rows at each point but the last, asked for one after another. Both ends of a stretch are
    averaged over the same ε, with both signs. NaN where a stretch has no length.
    """
    plain, averaged = [], []
    for stretch, rows in zip(range(len(points) - 1), agents, strict=False):
        begin, end = points[stretch], points[stretch + 1]
        length = float((end[: L.size].double() - begin[: L.size].double()).norm())
        plain.append(_ratio(L.gradient(end) - L.gradient(begin), length))
        change = torch.zeros(L.size, dtype=torch.float64, device=L.device)
        for epsilon in Deviations(rows, L.size).drawn(draws, seed):
            for sign in (1.0, -1.0):
                change += L.gradient(L.moved(end, epsilon, sign)) - L.gradient(L.moved(begin, epsilon, sign))
        averaged.append(_ratio(change / (2 * draws), length))
    return Smoothness(np.array(plain), np.array(averaged))


class Deviations:
    """The agents' rows less their mean, [P] in float64, one at a time: rows may come from a file when asked for."""

    def __init__(self, agents: Sequence[Tensor], size: int) -> None:
        """`size`: P; what rows have behind it are statistics."""
        self._agents, self._size = agents, size
        self._mean = self._row(0)
        for agent in range(1, len(agents)):
            self._mean += self._row(agent)
        self._mean /= len(agents)

    def __len__(self) -> int:
        return len(self._agents)

    def __getitem__(self, agent: int) -> Tensor:
        return self._row(agent).sub_(self._mean)

    def __iter__(self) -> Iterator[Tensor]:
        return map(self.__getitem__, range(len(self)))

    def drawn(self, draws: int, seed: int) -> Iterator[Tensor]:
        """Vectors from N(0, Ξ)."""
        for draw in range(draws):
            parts = stream(seed, "average direction", index=draw).standard_normal(len(self)) / math.sqrt(len(self))
            epsilon = torch.zeros_like(self._mean)
            for part, deviation in zip(parts.tolist(), self, strict=True):
                epsilon.add_(deviation, alpha=part)
            yield epsilon

    def _row(self, agent: int) -> Tensor:
        return self._agents[agent][: self._size].double().clone()


def _ratio(change: Tensor, length: float) -> float:
    return float(change.norm()) / length if length else math.nan
