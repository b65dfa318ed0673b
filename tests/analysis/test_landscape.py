"""Lines and planes go through the models, and directions are as long as the filters."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from mpidl.analysis import landscape
from mpidl.analysis.objective import Objective
from mpidl.layout import Layout
from tests.analysis.objectives import drawn, logistic, quadratic


def test_ends_of_a_line_are_the_models_and_its_middle_is_their_mean() -> None:
    L, x, _ = logistic()
    y = x + drawn(L.size, purpose="other")
    found = landscape.line({"train": L}, x, y, [0, 0.5, 1])["train"]
    assert found.loss.tolist() == [L.value(x), L.value((x + y) / 2), L.value(y)]
    assert found.accuracy[0] == L.measure(x).accuracy


def test_the_barrier_of_a_line_is_above_the_chord() -> None:
    assert landscape.barrier(np.array([1.0, 4.0, 2.0]), [0, 0.5, 1]) == 2.5
    assert landscape.barrier(np.array([1.0, 0.0, 2.0]), [0, 0.5, 1]) == 0


def test_a_line_between_minima_of_a_quadratic_is_a_parabola() -> None:
    L = quadratic(torch.eye(3, dtype=torch.float64))
    end = torch.tensor([3.0, 4.0, 0.0], dtype=torch.float64)
    found = landscape.line({"L": L}, -end, end, shares := np.linspace(0, 1, 5))
    assert np.allclose(found["L"].loss, 12.5 * (2 * shares - 1) ** 2)


def test_directions_have_the_norms_of_the_models_filters() -> None:
    layout = Layout(("weight", "bias", "convolution", "zero"), ((3, 4), (3,), (2, 3, 2, 2), (1, 2)))
    x = drawn(layout.size)
    x[-2:] = 0
    plane = landscape.random_plane(layout, x, seed=5)
    for direction in (plane.across, plane.up):
        weight, bias, convolution, zero = layout.pieces(direction)
        own = list(layout.pieces(x))
        assert torch.allclose(weight.view(3, -1).norm(dim=1), own[0].view(3, -1).norm(dim=1))
        assert torch.allclose(convolution.view(2, -1).norm(dim=1), own[2].view(2, -1).norm(dim=1))
        assert not bias.any()
        assert not zero.any()
    assert not torch.equal(plane.across, plane.up)
    assert torch.equal(plane.across, landscape.random_plane(layout, x, seed=5).across)


def test_a_surface_is_the_loss_at_its_points() -> None:
    L, x, _ = logistic()
    plane = landscape.random_plane(L.layout, x)
    found = landscape.surface({"L": L}, plane, [-1, 0, 1], [0, 2])["L"].loss
    assert found.shape == (2, 3)
    assert found[0, 1] == L.value(x)
    assert found[1, 2] == L.value(x + plane.across + 2 * plane.up)


def test_a_plane_through_three_models_has_them_and_their_distances() -> None:
    a, b, c, other = drawn(4, 6)
    plane = landscape.plane_through((a, b, c), 6)
    places = [np.array(plane.coordinates(row, 6)) for row in (a, b, c)]
    for row, (s, t) in zip((a, b, c), places, strict=True):
        assert torch.allclose(plane.at(s, t), row)
    for (p, x), (q, y) in combinations(zip(places, (a, b, c), strict=True), 2):
        assert math.isclose(np.linalg.norm(p - q), float((x - y).norm()), rel_tol=1e-12)
    s, t = plane.coordinates(other, 6)
    away = other - plane.at(s, t)
    assert abs(float(away @ plane.across)) < 1e-12


@pytest.mark.parametrize(("third", "words"), [(0.0, "the same"), (2.0, "on one line")])
def test_models_that_span_no_plane_are_refused(third: float, words: str) -> None:
    a, step = drawn(2, 6)
    with pytest.raises(ValueError, match=words):
        landscape.plane_through((a, a + third * step, a + 3 * step), 6)


def test_statistics_go_with_their_models() -> None:
    """Half way between two networks, batch normalisation has half of each one's running mean."""
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).double()
    chunks = [(drawn(6, 2), torch.zeros(6, dtype=torch.int64))]
    L = Objective(module, lambda module, x, y: module(x).sum(1), chunks)
    here = L.row()
    assert len(here) == L.size + 4
    there = here.clone()
    there[L.size : L.size + 2] = torch.tensor([2.0, 4.0])
    found = landscape.line({"L": L}, here, there, [0, 0.5, 1])["L"].loss
    assert math.isclose(found[0] - found[1], 3 / math.sqrt(1 + 1e-5), rel_tol=1e-9)
    assert module.training
    assert torch.equal(L.moved(there, torch.ones(L.size))[L.size :], there[L.size :])
