"""How unlike the agents' gradients are at the shared model: their variance T, and how well they are aligned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from mpidl.comm.tree import tree_sum

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.algorithms.base import Algorithm, Crew, Oracle
    from mpidl.comm.reduce import Reducer
    from mpidl.comm.world import World


class Heterogeneity:
    """T = Σ p_i ‖g_i − ḡ‖² and the mean of cos(g_i, ḡ), of gradients over all data of those who took part last.

    They are taken at the first shared model that is evaluated, without clipping and weight decay, and before there was
    a round, or where all agents always take part, over all of them with equal weights. T is Σ p_i ‖g_i‖² − ‖ḡ‖², for
    which no gradient has to be kept; the sums are in float64, so that it comes out where gradients are nearly alike.
    """

    def __init__(self, oracle: Oracle, world: World, reduction: Reducer, evaluated: Sequence[str]) -> None:
        """`reduction` sums rows of float64; `evaluated` are names of models, of which others may not be kept."""
        self._oracle, self._world, self._reduction, self._evaluated = oracle, world, reduction, evaluated

    def measure(self, algorithm: Algorithm) -> dict[str, float]:
        """Both, the same on every rank. A collective call, which takes a pass over the data."""
        models = map(algorithm.model, (*self._evaluated, *algorithm.models))
        shared = next((model for model in models if model.ndim == 1), None)
        crew = algorithm.took_part() or algorithm.everybody()
        if shared is None or not crew.agents:
            return {}
        squares: list[tuple[int, float]] = []
        leaves = self._leaves(crew, shared, squares)
        mean, units = self._reduction.sum(leaves, len(crew.agents), crew.runners, rows=2)
        everywhere = self._world.concatenate(np.array(squares, dtype=np.float64).reshape(-1, 2))
        spread = tree_sum(everywhere[np.argsort(everywhere[:, 0]), 1])
        variance = max(0.0, float(spread - mean.square().sum()))
        length = float(mean.norm())
        alignment = float(units @ mean) / (length * len(crew.agents)) if length else float("nan")
        return {"gradient_variance": variance, "gradient_alignment": alignment}

    def _leaves(self, crew: Crew, x: Tensor, squares: list[tuple[int, float]]) -> Iterator[tuple[int, Tensor]]:
        """p_i g_i and g_i/‖g_i‖ of the agents that this rank ran; adds (position, p_i ‖g_i‖²) to `squares`."""
        g = torch.empty_like(x)
        rows = torch.empty((2, len(x)), dtype=torch.float64, device=x.device)
        for position in crew.run_by(self._world.rank):
            self._oracle.whole(crew.agents[position], x, g)
            rows[0].copy_(g)
            length, weight = float(rows[0].norm()), crew.weights[position]
            rows[1].copy_(rows[0]).mul_(1 / length if length else 0.0)
            rows[0].mul_(weight)
            squares.append((position, weight * length**2))
            yield position, rows
