"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from mpidl.spoken import with_deviation


@pytest.mark.parametrize(
    ("mean", "deviation", "name", "units", "words"),
    [
        (0.97778, 0.00323, "test_accuracy_server", "1", "97.78 ± 0.32 %"),
        (0.5, 0.25, "accuracy", "1", "50 ± 25 %"),
        (0.070712, 0.001534, "", "1", "0.0707 ± 0.0015"),
        (12345.6, 123.0, "", "1", "12,346 ± 123"),
        (8.982e-13, 1.03e-13, "", "1", "8.98e-13 ± 1e-13"),
        (2.5e9, 3e6, "", "bytes", "2.5000 ± 0.0030 GB"),
        (3.87e6, 1.1e6, "bytes_to_target", "bytes", "3.9 ± 1.1 MB"),
        (0.165, 0.00279, "seconds", "s", "0.1650 ± 0.0028 s"),
        (250.0, 3.2, "seconds", "s", "4 min 10 s ± 3.2 s"),
        (500.0, 0.0, "", "rounds", "500"),
        (500.0, math.nan, "", "rounds", "500"),
        (math.nan, math.nan, "", "1", "–"),
        (math.inf, math.nan, "", "1", "inf"),
    ],
)
def test_a_mean_is_told_as_exactly_as_it_is_known(
    mean: float, deviation: float, name: str, units: str, words: str
) -> None:
    assert with_deviation(mean, deviation, name, units) == words
