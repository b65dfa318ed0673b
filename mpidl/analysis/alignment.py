"""How far the agents' gradients at one model agree: their cosines, and their covariance's trace T."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mpidl.analysis.objective import Objective
from mpidl.analysis.workers import ALONE, Workers, dealt

# Of gradients that are kept at once; of more, some are computed again for each such lot.
_BYTES = 2**30


class Alignment(NamedTuple):
    """`cosines` [N, N] of agents' gradients; `variance` T = Σ p_i ‖g_i − ḡ‖²; with ḡ = Σ p_i g_i, `with_mean` [N] their
    cosines with it, and `mean_norm` ‖ḡ‖. NaN where a gradient is zero."""

    cosines: np.ndarray
    variance: float
    with_mean: np.ndarray
    mean_norm: float

    @property
    def mean_cosine(self) -> float:
        """Over all pairs of agents; NaN of a single one."""
        pairs = self.cosines[np.triu_indices(len(self.cosines), 1)]
        return float(pairs.mean()) if len(pairs) else math.nan


def align(
    objectives: Sequence[Objective], x: Tensor, weights: Sequence[float] | None = None, workers: Workers = ALONE
) -> Alignment:
    """The alignment of ∇L_i(x) over agents with objectives of their own; `weights` p_i are equal by default.

    Each gradient is computed by one of `workers`: the objectives themselves have none.
    """
    products = gram(lambda agent: objectives[agent].gradient(x), len(objectives), objectives[0].size, workers)
    return of_products(products, weights)


def of_products(products: np.ndarray, weights: Sequence[float] | None = None) -> Alignment:
    """The alignment of vectors of which the products [N, N] with each other are known."""
    count = len(products)
    p = np.full(count, 1 / count) if weights is None else np.asarray(weights)
    squares = np.diag(products)
    norms = np.sqrt(squares)
    with_mean = products @ p
    mean_square = max(0.0, float(p @ with_mean))
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = products / np.outer(norms, norms)
        by_mean = with_mean / (norms * math.sqrt(mean_square))
    variance = max(0.0, float(p @ squares) - mean_square)
    return Alignment(cosines, variance, by_mean, math.sqrt(mean_square))


def gram(
    vector: Callable[[int], Tensor], count: int, size: int, workers: Workers = ALONE, most: int = _BYTES
) -> np.ndarray:
    """The products v_i·v_j of so many vectors [size] in float64, of which `most` bytes are kept at once, two at least.

    Lots of vectors are compared with each other, each vector computed once for each pair of lots that it is in.
    """
    products = np.empty((count, count))
    lot = max(1, min(count, most // (2 * 8 * size)))
    lots = [range(begin, min(begin + lot, count)) for begin in range(0, count, lot)]
    for place, rows in enumerate(lots):
        ours = _computed(vector, rows, size, workers)
        for columns in lots[place:]:
            theirs = ours if columns is rows else _computed(vector, columns, size, workers)
            for i, one in zip(rows, ours, strict=True):
                for j, other in zip(columns, theirs, strict=True):
                    products[i, j] = products[j, i] = float(torch.dot(one, other))
    return products


def _computed(vector: Callable[[int], Tensor], which: range, size: int, workers: Workers) -> list[Tensor]:
    """These vectors, each computed by one worker, and known to all."""
    owners = dict(zip(which, dealt(len(which), workers), strict=True))
    mine = {number: vector(number) for number, owner in owners.items() if owner == workers.rank}
    return [
        workers.sum_rows([(0, mine[number])] if owner == workers.rank else [], [owner], size)
        for number, owner in owners.items()
    ]
