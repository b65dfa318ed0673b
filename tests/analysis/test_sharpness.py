"""Curvature is that of closed forms: quadratics, and the explicit Hessian of logistic regression."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mpidl.analysis import sharpness
from mpidl.analysis.lanczos import lanczos, trace
from mpidl.analysis.objective import Objective
from tests.analysis.objectives import drawn, logistic, quadratic


def symmetric(eigenvalues: list[float]) -> Tensor:
    """A matrix with these."""
    Q = torch.linalg.qr(drawn(len(eigenvalues), len(eigenvalues))).Q
    return Q @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ Q.T


SPECTRUM = [9.0, 4.0, 4.0, 1.0, 0.5, 0.1, 0.0, 0.0, -0.2, -3.0]


def test_spectrum_and_trace_of_a_quadratic() -> None:
    """Equal and negative eigenvalues among them, however small the rest is."""
    L = quadratic(symmetric(SPECTRUM))
    x = drawn(10, purpose="x")
    found = sharpness.hessian(L, x, count=10, steps=10)
    assert np.allclose(found.eigenvalues.largest, SPECTRUM, atol=1e-10)
    assert math.isclose(found.eigenvalues.smallest, -3, abs_tol=1e-10)
    assert math.isclose(found.trace.value, sum(SPECTRUM), abs_tol=1e-10)
    assert found.trace.error == 0


def test_hessian_of_logistic_regression() -> None:
    L, x, H = logistic()
    exact = torch.linalg.eigvalsh(H).flip(0).numpy()
    assert torch.allclose(L.hessian_product(x, drawn(L.size)), H @ drawn(L.size), atol=1e-12)
    found = sharpness.hessian(L, x, count=4, tolerance=1e-9)
    assert np.allclose(found.eigenvalues.largest, exact[:4], rtol=1e-6)
    assert math.isclose(found.trace.value, float(H.trace()), rel_tol=1e-6)


def test_eigenvalues_lie_within_their_residuals_and_fewer_steps_are_enough_for_the_largest() -> None:
    eigenvalues = [100.0, 50.0, *np.linspace(1, 0, 98)]
    H = symmetric(eigenvalues)
    found = lanczos(lambda v: H @ v, 100, count=2, steps=60, tolerance=1e-8)
    assert found.steps < 60
    assert np.allclose(found.largest, [100, 50], rtol=1e-8)
    rough = lanczos(lambda v: H @ v, 100, count=2, steps=4)
    distances = [min(abs(value - exact) for exact in eigenvalues) for value in rough.largest]
    assert (np.array(distances) <= rough.residuals + 1e-10).all()


def test_the_trace_outside_of_the_lanczos_vectors_is_estimated_without_bias() -> None:
    H = symmetric(list(np.linspace(1, 0.2, 60)))
    spectrum = lanczos(lambda v: H @ v, 60, count=1, steps=5, tolerance=0)
    found = trace(lambda v: H @ v, spectrum, probes=400)
    assert 0 < found.error < 0.02 * float(H.trace())
    assert abs(found.value - float(H.trace())) < 4 * found.error


def test_the_density_of_the_spectrum_has_its_moments() -> None:
    """Seen from the first vector, which is drawn: about as the trace has it."""
    H = symmetric(list(np.linspace(1, 0, 400)))
    spectrum = lanczos(lambda v: H @ v, 400, steps=20, tolerance=0)
    assert math.isclose(spectrum.weights.sum(), 1, rel_tol=1e-12)
    assert math.isclose(spectrum.weights @ spectrum.nodes, 0.5, rel_tol=0.15)


def test_a_loss_that_is_linear_has_no_curvature() -> None:
    L = quadratic(torch.zeros(4, 4, dtype=torch.float64))
    linear = Objective(L.rows.module, lambda module, x, y: module.position.sum().expand(len(y)), L.chunks)
    found = sharpness.hessian(linear, drawn(4))
    assert found.eigenvalues.largest.tolist() == [0, 0, 0, 0]
    assert found.trace == (0, 0)


def test_sam_sharpness_of_a_quadratic() -> None:
    """(ρ/‖g‖) g·g + ½ (ρ/‖g‖)² g·Hg with g = Hx."""
    H = symmetric(SPECTRUM)
    x, rho = drawn(10, purpose="x"), 0.05
    g = H @ x
    exact = rho * g.norm() + rho**2 / 2 * (g @ H @ g) / (g @ g)
    assert math.isclose(sharpness.sam(quadratic(H), x, rho), exact, rel_tol=1e-9)


def agents(count: int, size: int) -> list[Tensor]:
    return list(drawn(count, size, purpose="agents") + 3)


def test_average_direction_sharpness_of_a_quadratic_is_half_the_trace_of_H_and_the_agents_covariance() -> None:
    H, rows = symmetric(SPECTRUM), agents(4, 10)
    deviations = torch.stack(rows) - torch.stack(rows).mean(0)
    covariance = deviations.T @ deviations / 4
    found = sharpness.average_direction(quadratic(H), drawn(10, purpose="x"), rows, draws=4)
    exact = float((H @ covariance).trace()) / 2
    assert math.isclose(found.second_order, exact, rel_tol=1e-10)
    assert math.isclose(found.sharpness.value, exact, rel_tol=1e-8)
    assert found.sharpness.error < 1e-8 * abs(exact)
    assert math.isclose(found.spread, float(covariance.trace()), rel_tol=1e-12)


def test_average_direction_sharpness_goes_beyond_second_order() -> None:
    """Of Σ x⁴ at 0, where H = 0: E Σ ε⁴ = 3 Σ Ξ_kk²."""
    rows = agents(5, 3)
    L = quadratic(torch.zeros(3, 3, dtype=torch.float64))
    quartic = Objective(L.rows.module, lambda module, x, y: (module.position**4).sum().expand(len(y)), L.chunks)
    deviations = torch.stack(rows) - torch.stack(rows).mean(0)
    variances = deviations.square().mean(0)
    found = sharpness.average_direction(quartic, torch.zeros(3, dtype=torch.float64), rows, draws=400)
    assert found.second_order == 0
    assert abs(found.sharpness.value - float(3 * variances.square().sum())) < 4 * found.sharpness.error


def test_drawn_directions_have_the_agents_covariance() -> None:
    rows = agents(3, 4)
    deviations = torch.stack(rows) - torch.stack(rows).mean(0)
    sample = torch.stack(list(sharpness.Deviations(rows, 4).drawn(2000, seed=3)))
    exact = deviations.T @ deviations / 3
    assert (sample.T @ sample / 2000 - exact).norm() < 0.1 * exact.norm()


def test_the_gradient_of_a_quadratic_is_as_smooth_averaged_as_plain() -> None:
    """‖H(x' − x)‖/‖x' − x‖ either way."""
    H, points = symmetric(SPECTRUM), list(drawn(3, 10, purpose="points"))
    found = sharpness.smoothness(quadratic(H), points, [agents(4, 10)] * 3, draws=3)
    exact = [float((H @ (b - a)).norm() / (b - a).norm()) for a, b in zip(points[:-1], points[1:], strict=True)]
    assert np.allclose(found.plain, exact, rtol=1e-10)
    assert np.allclose(found.averaged, exact, rtol=1e-8)


def test_averaging_over_agents_smooths_a_kink() -> None:
    """The gradient of |x| jumps by 2 at 0; averaged over ε ~ N(0, 1), it rises by 2 (Φ(½) − Φ(−½)) from −½ to ½."""
    L = quadratic(torch.zeros(1, 1, dtype=torch.float64))
    kink = Objective(L.rows.module, lambda module, x, y: module.position.abs().sum().expand(len(y)), L.chunks)
    ends, rows = ([torch.tensor([end], dtype=torch.float64) for end in (-far, far)] for far in (0.5, 1.0))
    found = sharpness.smoothness(kink, ends, [rows], draws=200)
    assert math.isclose(found.plain[0], 2)
    assert math.isclose(found.averaged[0], 2 * math.erf(0.5 / math.sqrt(2)), rel_tol=0.2)


def test_a_row_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="has 10 numbers"):
        quadratic(symmetric(SPECTRUM)).value(torch.zeros(3))
