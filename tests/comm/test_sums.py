"""Weighted sums: a number's bits do not depend on the rows beside its own, nor on where its row lies."""

from __future__ import annotations

import pytest
import torch

from mpidl.comm.gossip.sums import Sum
from tests.comm.mixing import rows

WIRES = [(torch.float32, torch.float32), (torch.float64, torch.float64), (torch.float32, torch.bfloat16)]
WEIGHTS = [0.1 + 0.07 * i for i in range(10)]


def summed(sums: Sum, own: torch.Tensor, others: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
    out, weights = torch.empty_like(own), WEIGHTS[: len(own)]
    sums.begin(out, own, sums.own_weights(weights))
    sums.add(out, others, sums.weights(weights), places)
    return out


@pytest.mark.parametrize(("dtype", "wire"), WIRES)
@pytest.mark.parametrize("length", [1, 7, 16, 31, 64, 131, 1003])
def test_rows_summed_at_once_have_the_bits_of_rows_summed_alone(dtype, wire, length):
    sums = Sum(0.7, dtype, wire, 10 * length, torch.device("cpu"))
    own, others = rows(10, length, dtype), rows(20, length, dtype)[10:]
    alone = torch.stack([summed_alone(sums, own[place], others[place], WEIGHTS[place]) for place in range(10)])
    assert torch.equal(summed(sums, own, others), alone)
    # With room between rows, in two levels, and gathered.
    wide = torch.zeros(10, length + 13, dtype=dtype)
    wide[:, :length] = others
    assert torch.equal(summed(sums, own, wide[:, :length]), alone)
    places = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    shuffled = torch.empty_like(others)
    shuffled[places] = others
    assert torch.equal(summed(sums, own, shuffled, places), alone)
    out = torch.empty_like(own)
    weights = sums.own_weights(WEIGHTS), sums.weights(WEIGHTS)
    sums.begin(out, own, weights[0])
    sums.add(out.view(5, 2, length), others.view(5, 2, length), weights[1].view(5, 2, 1))
    assert torch.equal(out, alone)


def summed_alone(sums: Sum, own: torch.Tensor, other: torch.Tensor, weight: float) -> torch.Tensor:
    """One row, as large ones are summed."""
    out = torch.empty_like(own)
    sums.begin(out, own, sums.own_weights([weight])[0])
    sums.add(out, other, sums.weights([weight])[0])
    return out


@pytest.mark.parametrize(("dtype", "wire"), WIRES)
def test_chunks_of_a_row_have_the_bits_of_the_whole(dtype, wire):
    sums = Sum(0.7, dtype, wire, 1003, torch.device("cpu"))
    own, other = rows(2, 1003, dtype)
    whole = summed_alone(sums, own, other, 0.3)
    for chunk in (64, 192, 512):
        parts = zip(own.split(chunk), other.split(chunk), strict=True)
        assert torch.equal(torch.cat([summed_alone(sums, a, b, 0.3) for a, b in parts]), whole)
