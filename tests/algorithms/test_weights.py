"""The weights p_i of averages over agents."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from mpidl.algorithms.base import Algorithm

ALGORITHM: Any = SimpleNamespace(sizes={0: 10, 1: 30, 2: 60, 3: 900})


def test_weights_over_some_agents_sum_to_one_and_know_the_others_not() -> None:
    assert Algorithm.weights(ALGORITHM, "data", [0, 1, 2]) == [0.1, 0.3, 0.6]
    assert Algorithm.weights(ALGORITHM, "uniform", [0, 1, 2, 3]) == [0.25] * 4
