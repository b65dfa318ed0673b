"""Running statistics of batch normalisation, estimated again."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mpidl.errors import DataError
from mpidl.models import MODELS
from mpidl.models.buffers import batch_norms, reestimate


def test_statistics_equal_those_computed_by_hand() -> None:
    first, second = nn.Linear(3, 4).double(), nn.Linear(4, 5).double()
    module = nn.Sequential(
        first, nn.BatchNorm1d(4).double(), nn.Dropout(0.9), nn.ReLU(), second, nn.BatchNorm1d(5).double()
    )
    module(torch.randn(6, 3, dtype=torch.float64))
    batches = [torch.randn(n, 3, dtype=torch.float64) for n in (6, 6, 4)]
    reestimate(module, iter(batches))
    means, variances = ([], []), ([], [])
    for x in batches:
        z = first(x)
        means[0].append(z.mean(0))
        variances[0].append(((z - z.mean(0)) ** 2).sum(0) / (len(z) - 1))
        # γ = 1, β = 0; no dropout, as in evaluation.
        z = second(((z - z.mean(0)) / (((z - z.mean(0)) ** 2).mean(0) + 1e-5).sqrt()).relu())
        means[1].append(z.mean(0))
        variances[1].append(((z - z.mean(0)) ** 2).sum(0) / (len(z) - 1))
    for layer, mean, variance in zip((module[1], module[5]), means, variances, strict=True):
        torch.testing.assert_close(layer.running_mean, torch.stack(mean).mean(0), rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(layer.running_var, torch.stack(variance).mean(0), rtol=1e-13, atol=1e-13)


def test_only_the_statistics_change() -> None:
    module = MODELS.parse("resnet20").build((1, 8, 8), 3)
    layers = batch_norms(module)
    layers[2].eval()
    layers[3].momentum = 0.3
    parameters = [parameter.clone() for parameter in module.parameters()]
    flags = [part.training for part in module.modules()]
    places = [layer.running_mean.data_ptr() for layer in layers]
    reestimate(module, [torch.randn(4, 1, 8, 8) for _ in range(3)])
    assert flags == [part.training for part in module.modules()]
    assert [layer.momentum for layer in layers[2:5]] == [0.1, 0.3, 0.1]
    assert places == [layer.running_mean.data_ptr() for layer in layers]
    assert all(torch.equal(a, b) for a, b in zip(parameters, module.parameters(), strict=True))
    assert all(layer.running_mean.abs().sum() > 0 for layer in layers)


def test_what_was_there_before_does_not_matter() -> None:
    module = MODELS.parse("resnet20").build((1, 8, 8), 3)
    batches = [torch.randn(4, 1, 8, 8) for _ in range(2)]
    reestimate(module, batches)
    once = [buffer.clone() for buffer in module.buffers()]
    for buffer in module.buffers():
        buffer.fill_(7)
    reestimate(module, batches)
    assert all(torch.equal(a, b) for a, b in zip(once, module.buffers(), strict=True))


def test_a_model_without_batch_normalisation_reads_no_batch() -> None:
    module = MODELS.parse({"name": "resnet20", "norm": "evonorm"}).build((1, 8, 8), 3)
    reestimate(module, (pytest.fail("a batch was read") for _ in range(1)))


def test_no_batch_is_an_error() -> None:
    with pytest.raises(DataError, match="no batch"):
        reestimate(nn.Sequential(nn.BatchNorm1d(2)), [])
