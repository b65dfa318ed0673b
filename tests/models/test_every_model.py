"""What must hold for every model in the registry."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

from mpidl.models import LOSSES, MODELS
from mpidl.models.curvature import second_derivatives
from mpidl.models.losses import per_example_loss
from tests.models.cases import OUTPUTS, batch, built, every_case, task_of

Shape = tuple[int, ...]


def mean_loss(module: nn.Module, shape: Shape, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return per_example_loss(task_of(shape))(module, x, y).mean()


def test_listing_models_and_losses_does_not_import_torch() -> None:
    program = (
        "import sys\nfrom mpidl.models import MODELS, LOSSES\n"
        "[MODELS.settings(name).model_json_schema() for name in MODELS]\n[LOSSES.settings(name) for name in LOSSES]\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


def test_every_registered_model_has_a_case() -> None:
    from tests.models.cases import _SETTINGS

    assert {settings["name"] for settings, _ in _SETTINGS} == set(MODELS)


@pytest.mark.parametrize("registry", [MODELS, LOSSES], ids=["models", "losses"])
def test_every_part_and_key_is_described(registry: Any) -> None:
    for name in registry:
        settings = registry.settings(name)
        assert settings.__doc__
        assert all(field.description for field in settings.model_fields.values())


@every_case
def test_outputs_have_the_shape_of_the_task(settings: dict[str, Any], shape: Shape) -> None:
    x, _ = batch(shape)
    expected = (*x.shape, OUTPUTS) if task_of(shape) == "language" else (len(x), OUTPUTS)
    assert built(settings, shape)(x).shape == expected


@every_case
def test_every_parameter_has_a_gradient(settings: dict[str, Any], shape: Shape) -> None:
    module = built(settings, shape)
    module.eval() if settings["name"] == "vgg11" else module.train()
    x, y = batch(shape, examples=8)
    mean_loss(module, shape, x, y).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@every_case
def test_equal_seeds_build_equal_weights_and_others_do_not(settings: dict[str, Any], shape: Shape) -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([parameter.flatten() for parameter in built(settings, shape).parameters()])

    first = weights(3)
    assert torch.equal(first, weights(3))
    assert not torch.equal(first, weights(4))


@every_case
def test_parameters_can_be_re_pointed_into_rows(settings: dict[str, Any], shape: Shape) -> None:
    module = built(settings, shape).eval()
    other = built(settings, shape).eval()
    x, y = batch(shape)
    parameters = list(module.parameters())
    size = sum(parameter.numel() for parameter in parameters)
    rows = torch.stack([torch.nn.utils.parameters_to_vector(each.parameters()).detach() for each in (module, other)])
    gradients = torch.zeros_like(rows)
    expected = [torch.autograd.grad(mean_loss(m, shape, x, y), list(m.parameters())) for m in (module, other)]
    for agent in (1, 0, 1):
        start = 0
        for parameter in parameters:
            end = start + parameter.numel()
            parameter.data = rows[agent, start:end].view(parameter.shape)
            parameter.grad = gradients[agent, start:end].view(parameter.shape)
            start = end
        assert start == size
        gradients.zero_()
        mean_loss(module, shape, x, y).backward()
        torch.testing.assert_close(gradients[agent], torch.cat([g.flatten() for g in expected[agent]]))
    rows.zero_()
    assert all(parameter.count_nonzero() == 0 for parameter in module.parameters())


@every_case
def test_hessian_vector_products_agree_with_differences_of_gradients(settings: dict[str, Any], shape: Shape) -> None:
    module = built(settings, shape).eval()
    for name, part in list(module.named_modules()):
        if isinstance(part, nn.ReLU):
            # A rectifier that switches within the difference would spoil the comparison, not the derivative.
            module.set_submodule(name, nn.Softplus())
    x, y = batch(shape)
    parameters = list(module.parameters())
    directions = [torch.randn_like(parameter) / parameter.numel() ** 0.5 for parameter in parameters]

    def gradients(create_graph: bool) -> tuple[torch.Tensor, ...]:
        with second_derivatives():
            return torch.autograd.grad(mean_loss(module, shape, x, y), parameters, create_graph=create_graph)

    slope = sum((g * v).sum() for g, v in zip(gradients(create_graph=True), directions, strict=True))
    products = torch.autograd.grad(slope, parameters, allow_unused=True, materialize_grads=True)
    step = 1e-6
    with torch.no_grad():
        for parameter, direction in zip(parameters, directions, strict=True):
            parameter.add_(direction, alpha=step)
    after = gradients(create_graph=False)
    with torch.no_grad():
        for parameter, direction in zip(parameters, directions, strict=True):
            parameter.add_(direction, alpha=-2 * step)
    before = gradients(create_graph=False)
    product = torch.cat([product.flatten() for product in products])
    wanted = torch.cat([((a - b) / (2 * step)).flatten() for a, b in zip(after, before, strict=True)])
    assert (product - wanted).norm() <= 1e-4 * wanted.norm()


@every_case
def test_vmap_over_agents_gives_each_agents_own_gradient(settings: dict[str, Any], shape: Shape) -> None:
    agents = [built({**settings, **({"dropout": 0} if "dropout" in settings else {})}, shape) for _ in range(2)]
    if settings["name"] == "vgg11":
        [agent.eval() for agent in agents]
    data = [batch(shape) for _ in agents]
    stacked, buffers = stack_module_state(agents)

    def loss(parameters: Any, buffers: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        outputs = functional_call(agents[0], (parameters, buffers), (x,))
        return functional.cross_entropy(outputs.flatten(0, -2), y.flatten())

    with second_derivatives():
        gradients = vmap(grad(loss))(stacked, buffers, *(torch.stack(part) for part in zip(*data, strict=True)))
        for index, (agent, (x, y)) in enumerate(zip(agents, data, strict=True)):
            mean_loss(agent, shape, x, y).backward()
            for name, parameter in agent.named_parameters():
                torch.testing.assert_close(gradients[name][index], parameter.grad, rtol=1e-8, atol=1e-10)
            for name, buffer in agent.named_buffers():
                torch.testing.assert_close(buffers[name][index], buffer)


@every_case
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_autocast_stays_near_float32(settings: dict[str, Any], shape: Shape, dtype: torch.dtype) -> None:
    module = built(settings, shape, torch.float32).eval()
    x, y = batch(shape, dtype=torch.float32)
    exact = mean_loss(module, shape, x, y)
    with torch.autocast("cpu", dtype=dtype):
        rough = mean_loss(module, shape, x, y)
    rough.backward()
    assert abs(rough.item() - exact.item()) < 0.05
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in module.parameters())
