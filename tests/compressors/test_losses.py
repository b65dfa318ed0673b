"""What is noted of packed rows is what they lose, and only where that is asked for."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from mpidl.compressors.base import Losses


def added(packed: Tensor, out: Tensor, weight: float) -> None:
    out.add_(packed, alpha=weight)


def test_losses_are_summed_over_the_rows_of_an_agent() -> None:
    """Of rows (3, 4) and (0, 5) what is kept is (3, 0) and (0, 5): 16 of 50 are lost."""
    losses = Losses()
    losses.begin(wanted=True)
    for row, kept in (([3.0, 4.0], [3.0, 0.0]), ([0.0, 5.0], [0.0, 5.0])):
        v = torch.tensor(row)
        losses.see(7, v, partial(added, torch.tensor(kept)))
        assert v.tolist() == row
    losses.see(2, torch.zeros(2), lambda out, weight: out)
    assert losses.shares() == {7: 0.32}
    losses.begin(wanted=False)
    losses.see(7, torch.ones(2), lambda out, weight: out)
    assert losses.shares() == {}
