"""Eigenvalues and trace of a symmetric matrix of which only products with vectors are known, such as a Hessian."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mpidl.errors import DivergenceError
from mpidl.seeding import stream

Product = Callable[[Tensor], Tensor]
"""A matrix times a float64 vector."""


class Estimate(NamedTuple):
    """The mean of several draws, and its standard error: zero where nothing is left to chance."""

    value: float
    error: float

    @classmethod
    def of(cls, draws: list[float] | np.ndarray) -> Estimate:
        """From independent draws."""
        values = np.asarray(draws, dtype=np.float64)
        error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.inf
        return cls(float(values.mean()), float(error))


@dataclass(frozen=True)
class Eigenvalues:
    """What Lanczos has found of a symmetric [size, size] matrix.

    `largest`: of its eigenvalues, descending, and `smallest`, the least of all. An eigenvalue lies within the
    `residuals` of each. `nodes` and `weights`: the whole spectrum as seen from a random vector, so that
    Σ weights · f(nodes) ≈ Tr f(H)/size [Ghorbani et al. 2019]. Eigenvalues that are equal are found as one, unless all
    `size` steps were taken.
    """

    largest: np.ndarray
    residuals: np.ndarray
    smallest: float
    nodes: np.ndarray
    weights: np.ndarray
    steps: int
    size: int
    basis: list[Tensor] = field(repr=False)
    """Orthonormal vectors, one for each step."""
    trace_within: float
    """The trace of the matrix within their span."""


def lanczos(
    product: Product,
    size: int,
    count: int = 5,
    steps: int = 80,
    tolerance: float = 1e-6,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Eigenvalues:
    """The `count` largest eigenvalues and the smallest one [Lanczos 1950], with full reorthogonalisation.

        w = H q_j;   α_j = q_j·w;   w −= Σ_i q_i (q_i·w) twice;   β_j = ‖w‖;   q_{j+1} = w/β_j

    It ends when all of these have residuals β_m |s_mi| below `tolerance` times the largest absolute eigenvalue, after
    at most `steps` products. Where the vectors so far span all that can be reached from the first, another random one
    begins. The basis is kept in `dtype`: `steps` rows of memory.
    """
    steps, count = min(steps, size), min(count, size)
    basis: list[Tensor] = []
    alphas: list[float] = []
    betas: list[float] = []
    q = _random_unit(basis, size, seed, dtype, device)
    while True:
        basis.append(q)
        w = product(q.double())
        alphas.append(float(torch.dot(q.double(), w)))
        if not math.isfinite(alphas[-1]):
            raise DivergenceError("the Hessian has infinities or NaN here; the model may have diverged")
        _orthogonalise(w, basis)
        betas.append(float(w.norm()))
        m = len(basis)
        if m == size:
            betas[-1] = 0.0
        theta, vectors = np.linalg.eigh(np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1))
        residuals = betas[-1] * np.abs(vectors[-1])
        scale = float(np.abs(theta).max())
        wanted = [*range(max(0, m - count), m), 0]
        if m == steps or (m > count and (residuals[wanted] <= tolerance * scale).all() and scale):
            break
        if betas[-1] <= 10 * np.finfo(np.float64).eps * scale:
            betas[-1] = 0.0
            q = _random_unit(basis, size, seed, dtype, device)
        else:
            q = (w / betas[-1]).to(dtype)
    top = np.arange(m - 1, m - 1 - min(count, m), -1)
    return Eigenvalues(
        largest=theta[top],
        residuals=residuals[top],
        smallest=float(theta[0]),
        nodes=theta,
        weights=vectors[0] ** 2,
        steps=m,
        size=size,
        basis=basis,
        trace_within=math.fsum(alphas),
    )


def trace(product: Product, known: Eigenvalues, probes: int = 16, seed: int = 0) -> Estimate:
    """Tr H: exact within the span of the Lanczos vectors, estimated outside it [Hutchinson 1990; Meyer et al. 2021].

    Outside, it is the mean of (Pv)·H(Pv) over vectors v of random signs, P = I − Σ q_i q_iᵀ.
    """
    if known.steps == known.size:
        return Estimate(known.trace_within, 0.0)
    outside = []
    for probe in range(probes):
        signs = stream(seed, "trace", index=probe).integers(0, 2, known.size, dtype=np.int8)
        v = torch.from_numpy(signs).to(known.basis[0].device, torch.float64).mul_(2).sub_(1)
        _orthogonalise(v, known.basis)
        outside.append(float(torch.dot(v, product(v))))
    found = Estimate.of(outside)
    return Estimate(known.trace_within + found.value, found.error)


def _random_unit(basis: list[Tensor], size: int, seed: int, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """A random unit vector orthogonal to these."""
    drawn = stream(seed, "lanczos", index=len(basis)).standard_normal(size)
    q = torch.from_numpy(drawn).to(device)
    _orthogonalise(q, basis)
    return (q / q.norm()).to(dtype)


def _orthogonalise(w: Tensor, basis: list[Tensor]) -> None:
    """Takes out of w what lies along these vectors; twice, since what is left of a first time can be large."""
    for _ in range(2):
        for q in basis:
            along = q.double()
            w.sub_(along, alpha=float(torch.dot(along, w)))
