"""Findings of several runs beside each other: what is one number in each, by name, as mean and deviation."""

from __future__ import annotations

import numpy as np
import pytest

from mpidl.analysis.gathered import numbers
from mpidl.results.findings import Finding, Findings


def found(**values: object) -> Findings:
    arrays = {name: np.asarray(value, dtype=float) for name, value in values.items()}
    scales = {0: (), 1: ("agent",)}
    return Findings(
        "kind", {}, {name: Finding(name, value, "1", "", scales[value.ndim]) for name, value in arrays.items()}
    )


def test_one_number_of_each_run_is_told_with_its_deviation() -> None:
    (trace,) = numbers([[found(trace=1.0, trace_error=0.1), found(trace=3.0, trace_error=0.1)], [found(trace=[5.0])]])
    assert trace.name == "trace" and [each.mean for each in trace.groups] == [2, 5]
    assert trace.groups[0].deviation == pytest.approx(2**0.5) and np.isnan(trace.groups[1].deviation)


def test_what_is_several_numbers_in_any_run_is_none_in_all() -> None:
    assert numbers([[found(accuracy_agents=[0.5])], [found(accuracy_agents=[0.5, 0.7])]]) == []
