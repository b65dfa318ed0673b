"""Axes show what differs: rounding stretches none, what is near the top is spread out, ticks are round and few."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the plot extra is not installed")

from mpidl.pictures import scales
from mpidl.pictures.scales import Limits, linear, logarithmic


def test_rounding_does_not_stretch_a_logarithmic_axis() -> None:
    falling, noise = np.array([1e-13, 1.0, 0.1, 0.01]), np.array([3e-13, 2e-13])
    limits = logarithmic([falling, noise])
    assert limits is not None and 0.005 < limits.low < 0.01 and 1 < limits.high < 2
    # What is exact to more digits shows more of them.
    exact = logarithmic([falling, noise], scales.ROUNDING["float64"])
    assert exact is not None and exact.low < 1e-13


def test_a_line_that_explodes_hides_no_other() -> None:
    limits = logarithmic([np.array([1.0, 1e20, 1e42]), np.array([2.0, 0.1])])
    assert limits is not None and limits.low < 0.1 and limits.high > 1e42


def test_a_line_of_rounding_alone_is_level() -> None:
    limits = logarithmic([np.array([1.0, 1.001, 1.0]) * 1e-13])
    assert limits is not None and limits.high / limits.low < 1.2
    level = linear([np.array([0.1, 0.1 + 1e-13])])
    assert level.high - level.low > 0.01


def test_zero_has_a_place_below_the_least_only_where_it_is_wanted() -> None:
    errors = [np.array([0.5, 0.0, 0.01])]
    limits = logarithmic(errors, with_zero=True)
    assert limits is not None and limits.zero == 0.005 and limits.low < limits.zero
    assert limits.place(errors[0]).tolist() == [0.5, 0.005, 0.01]
    plain = logarithmic(errors)
    assert plain is not None and plain.zero is None and np.isnan(plain.place(errors[0])[1])


def test_nothing_and_nothing_positive_have_no_logarithmic_axis() -> None:
    assert logarithmic([]) is None and logarithmic([np.array([0.0, -1.0])]) is None
    assert linear([]) == Limits(0.0, 1.0)


@pytest.mark.parametrize("low", [1e-140, 1e-9, 0.0314, 1.0, 999.0])
@pytest.mark.parametrize("ratio", [1.06, 2.0, 9.0, 80.0, 1e5, 1e9, 1e20])
def test_a_logarithmic_axis_has_a_few_round_ticks_that_read_unlike(low: float, ratio: float) -> None:
    numbered, every = scales.log_ticks(low, low * ratio)
    words = [scales.tick(value, "1") for value in numbered]
    assert 2 <= len(words) <= 9 and len(set(words)) == len(words)
    assert all(low <= value <= low * ratio * (1 + 1e-9) for value in numbered)
    assert all(float(f"{value:.3e}") == pytest.approx(value) for value in numbered)


def test_ticks_read_as_people_write_them() -> None:
    told = [scales.tick(value, "1") for value in (0.0, 0.5, 1500.0, 1e-6, 2e7)]
    assert told == ["0", "0.5", "1,500", "$10^{-6}$", r"$2\cdot 10^{7}$"]
    assert scales.tick(0.025, "%") == "2.5" and scales.tick(2e6, "bytes") == "2 MB"
    assert [scales.of_time(longest) for longest in (90, 900, 90_000)] == [(1.0, "s"), (60.0, "min"), (3600.0, "h")]


def test_accuracies_near_the_top_and_totals_far_apart_are_told() -> None:
    assert scales.near_the_top([np.array([0.1, 0.93])]) and not scales.near_the_top([np.array([0.1, 0.7]), np.zeros(0)])
    assert scales.apart([1.0, 9.0]) and not scales.apart([1.0, 4.0, 0.0]) and not scales.apart([])


def test_limits_of_a_linear_axis_leave_values_as_they_are() -> None:
    values = np.array([-1.0, 0.0, 2.0])
    assert Limits(0.0, 1.0).place(values) is values
