"""Fingerprints tell data apart, and cost little however large the data are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mpidl.data import Dataset
from mpidl.data.fingerprint import fingerprint, fingerprint_of_shares
from mpidl.data.shares import Shares


class Rows:
    """A million rows that stand in no memory; counts those that are read."""

    shape, dtype = (1_000_000, 3), np.dtype(np.float32)

    def __init__(self) -> None:
        self.read = 0

    def take(self, indices: np.ndarray) -> np.ndarray:
        self.read += len(indices)
        return np.repeat(indices[:, None].astype(np.float32), 3, axis=1)


def squares(x: Any) -> Dataset:
    """A regression on these examples."""
    y = np.zeros((len(x) if hasattr(x, "__len__") else x.shape[0], 1), np.float32)
    return Dataset(x, y, x, y, task="regression")


def test_of_rows_in_a_file_few_are_read() -> None:
    rows = Rows()
    fingerprint(squares(rows))
    assert 0 < rows.read <= 2 * 64


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8, torch.bool])
def test_every_number_of_a_small_set_counts_in_every_type(dtype: torch.dtype) -> None:
    x = torch.zeros(40, 3, dtype=dtype)
    other = x.clone()
    other[17, 1] = 1
    one, two = fingerprint(squares(x)), fingerprint(squares(other))
    assert {key for key in one if one[key] != two[key]} == {"the digest of x", "the digest of x_test"}


def test_the_first_and_the_last_row_of_a_large_set_count() -> None:
    x = np.zeros((3_000_000, 1), np.float32)
    before = fingerprint(squares(x))
    for row in (0, -1):
        other = x.copy()
        other[row] = 1
        assert fingerprint(squares(other)) != before


def test_shares_of_one_size_are_told_apart_and_none_may_be_empty() -> None:
    def told(validation: list[int], *shares: list[int]) -> dict[str, str]:
        arrays = [np.array(share, dtype=np.int64) for share in shares]
        return dict(fingerprint_of_shares(Shares(arrays, np.array(validation, dtype=np.int64))))

    one, two, three = told([], [0, 1], []), told([], [0, 2], []), told([3], [0, 1], [])
    assert {key for key in one if one[key] != two[key]} == {"the share of agent 0"}
    assert {key for key in one if one[key] != three[key]} == {"the validation part"}
    assert one["the share of agent 1"].startswith("0 examples")
