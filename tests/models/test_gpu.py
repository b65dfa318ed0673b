"""Every model on a GPU: what it computes there is what it computes on the CPU."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from mpidl.models.curvature import second_derivatives
from mpidl.models.losses import per_example_loss
from tests.gpus import KIND, needs_gpu
from tests.models.cases import batch, built, every_case, task_of

pytestmark = needs_gpu


def row_gradient(module: nn.Module, task: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The gradient, written by backward into a row that the module's parameters were pointed to."""
    parameters = list(module.parameters())
    row = nn.utils.parameters_to_vector(parameters).detach().clone()
    gradient = torch.zeros_like(row)
    begin = 0
    for parameter in parameters:
        place = slice(begin, begin + parameter.numel())
        parameter.data = row[place].view(parameter.shape)
        parameter.grad = gradient[place].view(parameter.shape)
        begin = place.stop
    per_example_loss(task)(module, x, y).mean().backward()
    return gradient


@every_case
def test_gradients_into_rows_equal_the_cpus(settings: dict[str, Any], shape: tuple[int, ...]) -> None:
    module = built(settings, shape).eval()
    x, y = batch(shape)
    expected = row_gradient(module, task_of(shape), x, y)
    with warnings.catch_warnings():
        # A recurrent network whose weights are not contiguous would be compacted, with a warning, at every call.
        warnings.simplefilter("error")
        gradient = row_gradient(module.to(KIND), task_of(shape), x.to(KIND), y.to(KIND))
    torch.testing.assert_close(gradient.cpu(), expected, rtol=1e-8, atol=1e-10)


@every_case
def test_second_derivatives_exist_there(settings: dict[str, Any], shape: tuple[int, ...]) -> None:
    module = built(settings, shape, torch.float32).to(KIND)
    x, y = (part.to(KIND) for part in batch(shape, dtype=torch.float32))
    parameters = list(module.parameters())
    with second_derivatives():
        loss = per_example_loss(task_of(shape))(module, x, y).mean()
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    products = torch.autograd.grad(
        sum(gradient.sum() for gradient in gradients), parameters, allow_unused=True, materialize_grads=True
    )
    assert all(product.isfinite().all() for product in products)
