"""Cosines and T are those of the gradients themselves, however many of them fit into memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mpidl.analysis import alignment
from mpidl.analysis.objective import Objective
from tests.analysis.objectives import drawn, logistic


def test_alignment_is_that_of_gradients_written_out() -> None:
    L, x, _ = logistic()
    # A chunk is an agent; the network of all of them is one.
    agents = [Objective(L.rows.module, L.loss, [chunk], rows=L.rows) for chunk in L.chunks]
    p = [0.5, 0.3, 0.2]
    G = torch.stack([agent.gradient(x) for agent in agents]).numpy()
    found = alignment.align(agents, x, p)
    mean = np.array(p) @ G
    assert math.isclose(found.variance, sum(w * ((g - mean) ** 2).sum() for w, g in zip(p, G, strict=True)))
    assert math.isclose(found.mean_norm, np.linalg.norm(mean))
    unit = G / np.linalg.norm(G, axis=1, keepdims=True)
    assert np.allclose(found.cosines, unit @ unit.T, atol=1e-12)
    assert np.allclose(found.with_mean, unit @ mean / np.linalg.norm(mean), atol=1e-12)
    assert math.isclose(found.mean_cosine, (unit @ unit.T)[np.triu_indices(3, 1)].mean())


@pytest.mark.parametrize("kept", [1, 2, 3, 7])
def test_products_do_not_depend_on_how_many_vectors_are_kept(kept: int) -> None:
    V = drawn(7, 20)
    calls: list[int] = []

    def vector(number: int) -> torch.Tensor:
        calls.append(number)
        return V[number]

    found = alignment.gram(vector, 7, 20, most=2 * 8 * 20 * kept)
    assert np.array_equal(found, [[float(torch.dot(v, w)) for w in V] for v in V])
    lots = -(-7 // kept)
    assert len(calls) <= 7 * (lots + 1) / 2 + 7


def test_a_gradient_of_zero_has_no_direction() -> None:
    found = alignment.of_products(np.array([[4.0, 0.0], [0.0, 0.0]]))
    assert np.isnan(found.cosines[0, 1])
    assert (found.variance, found.mean_norm) == (1, 1)


def test_one_agent_has_no_pairs() -> None:
    assert math.isnan(alignment.of_products(np.array([[4.0]])).mean_cosine)
