"""A module pointed at a row is that row: nothing is copied, neither what is read nor what backward writes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mpidl.errors import ConfigError
from mpidl.parameters import RowModule


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def expected_gradient(module: nn.Module, x: Tensor) -> Tensor:
    gradients = torch.autograd.grad(module(x).square().sum(), list(module.parameters()))
    return torch.cat([gradient.reshape(-1) for gradient in gradients])


def test_the_row_is_what_the_module_computes_with():
    module = network()
    rows, x = RowModule(module), torch.randn(5, 3, dtype=torch.float64)
    assert rows.size == 4 * 3 + 4 + 2 * 4 + 2
    block = torch.stack([rows.flatten(), torch.zeros(rows.size, dtype=torch.float64)])
    before = module(x)
    rows.point(block[0])
    assert torch.equal(module(x), before)
    block[0] *= 2
    assert torch.equal(module[2].bias, 2 * network()[2].bias)
    rows.point(block[1])
    assert not module(x).any()
    rows.point(block[0])
    assert torch.equal(module[0].weight, 2 * network()[0].weight)
    with torch.no_grad():
        module[0].weight.fill_(7)
    assert (block[0, :12] == 7).all(), "what the module changes is changed in the row"


def test_backward_adds_into_the_gradient_row_that_a_neighbour_may_hold():
    module = network()
    rows, x = RowModule(module), torch.randn(5, 3, dtype=torch.float64)
    expected = expected_gradient(module, x)
    gradients = torch.zeros(2, rows.size, dtype=torch.float64)
    neighbours_view = gradients[1]
    rows.point(rows.flatten())
    rows.point_gradient(gradients[1])
    places = [parameter.grad.data_ptr() for parameter in module.parameters()]
    module(x).square().sum().backward()
    assert torch.equal(neighbours_view, expected)
    module(x).square().sum().backward()
    assert torch.equal(neighbours_view, 2 * expected)
    assert places == [parameter.grad.data_ptr() for parameter in module.parameters()]
    rows.point_gradient(gradients[0])
    module(x).square().sum().backward()
    assert torch.equal(gradients[0], expected) and torch.equal(neighbours_view, 2 * expected)


def test_a_row_that_takes_the_place_of_another_is_not_taken_for_it():
    """The address of a freed row may return; as long as the module points there, it cannot."""
    rows = RowModule(network())
    addresses = set()
    for value in range(20):
        row = torch.full((rows.size,), float(value), dtype=torch.float64)
        rows.point(row)
        addresses.add(row.data_ptr())
        assert (rows.module[2].bias == value).all()
        del row
    assert len(addresses) > 1


def test_tied_parameters_are_one_piece_of_the_row():
    module = network()
    module.add_module("again", nn.Linear(3, 4).double())
    module.again.weight = module[0].weight
    rows = RowModule(module)
    assert rows.size == 26 + 4
    rows.point(torch.ones(rows.size, dtype=torch.float64))
    assert module.again.weight is module[0].weight and (module.again.weight == 1).all()
    row, gradient = rows.flatten(), torch.zeros(rows.size, dtype=torch.float64)
    rows.point(row)
    rows.point_gradient(gradient)
    (module[0].weight.sum() + 10 * module.again.weight.sum()).backward()
    assert (rows.views(gradient)["0.weight"] == 11).all()


def test_frozen_parameters_are_not_in_the_row_and_serve_all_agents():
    module = network()
    module[0].weight.requires_grad_(False)
    rows, kept = RowModule(module), module[0].weight.clone()
    assert rows.size == 26 - 12 and "0.weight" not in rows.names
    for value in (1.0, 2.0):
        rows.point(torch.full((rows.size,), value, dtype=torch.float64))
        rows.point_gradient(torch.zeros(rows.size, dtype=torch.float64))
        module(torch.ones(1, 3, dtype=torch.float64)).sum().backward()
    assert torch.equal(module[0].weight, kept) and module[0].weight.grad is None


def test_views_name_the_pieces_of_a_row_and_of_a_block():
    module = network()
    module.register_parameter("temperature", nn.Parameter(torch.tensor(0.5, dtype=torch.float64)))
    rows = RowModule(module)
    row, block = rows.flatten(), torch.randn(5, rows.size, dtype=torch.float64)
    for name, value in module.state_dict().items():
        assert torch.equal(rows.views(row)[name], value)
        assert rows.views(block)[name].shape == (5, *value.shape)
        assert torch.equal(rows.views(block)[name][3], rows.views(block[3])[name])
    rows.views(block)["2.bias"][:] = 9
    assert (block[:, -2:] == 9).all()
    rows.point(row)
    row[0] = 3
    assert module.temperature.item() == 3


class Statistics(nn.Module):
    """BatchNorm twice, and constants of two kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        self.register_buffer("positions", torch.arange(3.0), persistent=False)
        self.register_buffer("mask", torch.tensor([True, False, True]))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)).where(self.mask, 0) + self.positions


def test_each_agent_has_its_own_statistics():
    module = Statistics()
    rows = RowModule(module)
    assert (rows.float_buffers, rows.integer_buffers) == (12, 2)
    floats, integers = (torch.stack([part] * 2) for part in rows.flatten_buffers(torch.float64))
    assert integers.dtype == torch.int64 and floats.dtype == torch.float64
    module.double()
    x = torch.randn(4, 3, dtype=torch.float64)
    rows.point_buffers(floats[1], integers[1])
    module(x)
    module(x)
    assert integers.tolist() == [[0, 0], [2, 2]]
    assert torch.equal(floats[0], rows.flatten_buffers(torch.float64)[0].new_tensor([0, 0, 0, 1, 1, 1] * 2))
    views = rows.buffer_views(floats, integers)
    assert torch.allclose(views["first.running_mean"][1], 0.19 * x.mean(0))
    assert views["second.num_batches_tracked"].tolist() == [0, 2]
    assert rows.buffer_views(floats[1], integers[1])["first.num_batches_tracked"].item() == 2
    rows.point_buffers(floats[0], integers[0])
    module(x)
    assert integers.tolist() == [[1, 1], [2, 2]]
    assert torch.allclose(views["first.running_mean"], torch.stack([0.1 * x.mean(0), 0.19 * x.mean(0)]))
    # Constants stay in the module, as they are.
    assert module.mask.tolist() == [True, False, True] and module.positions.tolist() == [0, 1, 2]


def test_a_buffer_that_two_modules_share_stays_shared():
    module = Statistics()
    module.second.running_mean = module.first.running_mean
    rows = RowModule(module)
    assert rows.float_buffers == 9
    rows.point_buffers(*rows.flatten_buffers(torch.float32))
    assert module.second.running_mean is module.first.running_mean


def test_what_cannot_be_one_row_is_refused():
    mixed = network()
    mixed[2].float()
    with pytest.raises(ConfigError, match=r"must share one dtype, not \['torch.float32', 'torch.float64'\]"):
        RowModule(mixed)
    with pytest.raises(ConfigError, match="no parameter to train"):
        RowModule(network().requires_grad_(False))
    mixed[2].requires_grad_(False)
    assert RowModule(mixed).dtype == torch.float64, "a frozen part may have another dtype"
