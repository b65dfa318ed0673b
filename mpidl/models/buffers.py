"""Running statistics of batch normalisation in models that nobody trained, such as an average over agents.

The average of models does not have the average of their statistics. Two policies are honest: average the buffers too,
or estimate them again by running training data through the averaged model, which is done here.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from mpidl.errors import DataError


def batch_norms(module: nn.Module) -> list[BatchNorm]:
    """The layers of a module that keep running statistics."""
    return [layer for layer in module.modules() if isinstance(layer, BatchNorm) and layer.track_running_stats]


def running(layer: BatchNorm) -> tuple[Tensor, Tensor]:
    """The running mean and variance of one of them."""
    if layer.running_mean is None or layer.running_var is None:
        raise ValueError(f"{layer} keeps no running statistics")
    return layer.running_mean, layer.running_var


@torch.no_grad()
def reestimate(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics by their plain average over these batches of inputs.

    Each batch counts alike: running mean = mean over batches of the batch's mean, running variance = mean over batches
    of the batch's unbiased variance, seen by each layer while all of them normalise by the batch. All else (dropout)
    acts as in evaluation. Buffers are written in place; training flags and momenta are left as they were.
    """
    layers = batch_norms(module)
    if not layers:
        return
    flags = [(part, part.training) for part in module.modules()]
    momenta = [layer.momentum for layer in layers]
    module.eval()
    for layer in layers:
        layer.reset_running_stats()
        # Without a momentum torch keeps the cumulative average.
        layer.momentum = None
        layer.train()
    count = 0
    try:
        for x in batches:
            module(x)
            count += 1
    finally:
        for part, training in flags:
            part.training = training
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    if count == 0:
        raise DataError("no batch was given to estimate the statistics of batch normalisation from")
