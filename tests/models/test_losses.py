"""Losses of single examples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mpidl.errors import ConfigError
from mpidl.models import LOSSES
from mpidl.models.losses import per_example_loss


def test_cross_entropy_is_minus_the_log_probability_of_the_target() -> None:
    x, y = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1])
    expected = [-math.log(torch.softmax(row, 0)[target]) for row, target in zip(x, y, strict=True)]
    losses = per_example_loss("classification")(nn.Identity(), x, y)
    torch.testing.assert_close(losses, torch.tensor(expected, dtype=torch.float64))


def test_a_texts_loss_is_the_mean_over_its_tokens() -> None:
    x, y = torch.randn(4, 6, 3, dtype=torch.float64), torch.randint(3, (4, 6))
    expected = -x.log_softmax(2).gather(2, y[..., None]).squeeze(2).mean(1)
    torch.testing.assert_close(per_example_loss("language")(nn.Identity(), x, y), expected)


@pytest.mark.parametrize("shape", [(5, 3), (5, 1), (5,)])
def test_the_mean_squared_error_is_torchs(shape: tuple[int, ...]) -> None:
    x, y = torch.randn(shape), torch.randn(shape)
    losses = per_example_loss("regression")(nn.Identity(), x, y)
    assert losses.shape == (5,)
    torch.testing.assert_close(losses.mean(), nn.MSELoss()(x, y))


def test_targets_without_a_column_do_not_broadcast() -> None:
    x, y = torch.randn(5, 1), torch.randn(5)
    torch.testing.assert_close(per_example_loss("regression")(nn.Identity(), x, y), (x[:, 0] - y) ** 2)


def test_outputs_that_do_not_fit_the_targets_end_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"\(4, 3\) do not fit targets of shape \(4, 6\)"):
        per_example_loss("language")(nn.Identity(), torch.randn(4, 3), torch.randint(3, (4, 6)))
    with pytest.raises(ConfigError, match=r"\(4, 3\) do not fit targets of shape \(4, 2\)"):
        per_example_loss("regression")(nn.Identity(), torch.randn(4, 3), torch.randn(4, 2))
    with pytest.raises(ConfigError, match="'regresion' is not known; did you mean 'regression'"):
        per_example_loss("regresion")


def test_label_smoothing_is_torchs() -> None:
    x, y = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    loss = LOSSES.parse({"name": "cross-entropy", "label_smoothing": 0.2})
    torch.testing.assert_close(loss(nn.Identity(), x, y).mean(), nn.CrossEntropyLoss(label_smoothing=0.2)(x, y))
