"""One gradient at a time: exact scaling, statistics of the first one only, and what goes wrong with a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mpidl.comm.meters import Meters
from mpidl.data import DATA
from mpidl.errors import ConfigError
from mpidl.models import LOSSES
from mpidl.parameters import RowModule
from mpidl.training.batched import BatchedGradients
from mpidl.training.buffers import AgentBuffers
from mpidl.training.gradients import Gradients, Losses
from mpidl.training.precision import Precision
from tests.training import plugins

AGENTS = 3
EXACT = Precision(torch.float64)
both_ways = pytest.mark.parametrize("oracle_class", [Gradients, BatchedGradients], ids=["one by one", "at once"])


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def oracle(
    network: str = "normed",
    oracle_class: type[Gradients] = Gradients,
    precision: Precision = EXACT,
    batch: int | str = 4,
    loss: str = "cross-entropy",
) -> tuple[Any, Tensor]:
    """An oracle for three agents, and the row that they start from."""
    torch.manual_seed(1)
    source = DATA.parse({"name": "tests.training.plugins:even", "agents": AGENTS, "split": "given", "batch": batch})
    dataset = source.load()
    batches = source.batches(dataset, source.deal(dataset, AGENTS, 0), 0, "cpu", precision.rows)
    rows = RowModule(getattr(plugins, network)((plugins.FEATURES,), plugins.CLASSES).to(precision.rows))
    buffers = None
    if rows.float_buffers:
        floats, integers = (part.expand(AGENTS, -1).clone() for part in rows.flatten_buffers(precision.rows))
        buffers = AgentBuffers(floats, integers, range(AGENTS), [0] * AGENTS, None, "average")
    made = oracle_class(rows, batches, LOSSES.parse(loss), range(AGENTS), buffers, 0, Meters(), precision)
    return made, rows.flatten()


def gradients(made: Any, row: Tensor, step: int) -> Tensor:
    """Of all agents, which all stand at this row."""
    out = torch.empty(AGENTS, len(row), dtype=row.dtype)
    made.ahead(range(AGENTS), row.expand(AGENTS, -1), step)
    for agent in range(AGENTS):
        made(agent, row, step, out[agent])
    return out


@both_ways
def test_a_second_gradient_of_a_step_counts_neither_in_statistics_nor_in_losses(oracle_class):
    once, row = oracle(oracle_class=oracle_class)
    twice, _ = oracle(oracle_class=oracle_class)
    for step in range(3):
        first = gradients(once, row, step)
        assert torch.equal(gradients(twice, row, step), first)
        elsewhere = gradients(twice, row + 1, step)
        assert not torch.allclose(elsewhere, first)
        assert torch.equal(once._buffers.floats, twice._buffers.floats)
        assert torch.equal(once._buffers.integers, twice._buffers.integers)
        assert once._buffers.integers.flatten().tolist() == [step + 1] * AGENTS
        row = row - 0.1 * first.mean(0)
    assert np.array_equal(once.losses.collect(), twice.losses.collect())
    assert np.isnan(once.losses.collect()).all(), "collected losses are not counted again"


class Here:
    """Sums over agents who are all here."""

    def sum(self, leaves: Any, positions: int, owners: Any) -> Tensor:
        return sum(row for _, row in leaves)


def test_statistics_are_reestimated_in_chunks_of_equal_size_and_pooled_over_agents():
    made, row = oracle()
    buffers = AgentBuffers(made._buffers.floats, made._buffers.integers, range(3), [0] * 3, Here(), "reestimate")
    # The shares are 6, 8 and 10 examples.
    made._batches._chunk = 5
    found, _ = buffers.of_shared_model(made._rows, row, made._batches)
    weight, bias = (made._rows.views(row)[name] for name in ("0.weight", "0.bias"))
    means, variances = [], []
    for agent, used in enumerate([[3, 3], [4, 4], [5, 5]]):
        chunks = [made._batches.chunk(agent, number)[0] @ weight.T + bias for number in range(len(used))]
        assert [len(chunk) for chunk in chunks] == used
        means.append(torch.stack([chunk.mean(0) for chunk in chunks]).mean(0))
        variances.append(torch.stack([chunk.var(0) for chunk in chunks]).mean(0))
    shares = torch.tensor([[6.0], [8.0], [10.0]], dtype=torch.float64) / 24
    mean = (shares * torch.stack(means)).sum(0)
    variance = (shares * (torch.stack(variances) + (torch.stack(means) - mean) ** 2)).sum(0)
    assert torch.allclose(found, torch.cat([mean, variance]), rtol=0, atol=1e-13)
    made._batches.sizes = (1, 1, 1)
    with pytest.raises(ConfigError, match="evaluate.buffers: 'reestimate' needs an agent with two examples"):
        buffers.of_shared_model(made._rows, row, made._batches)


def test_both_gradients_of_a_step_see_the_same_random_numbers():
    made, row = oracle("dropping")
    assert torch.equal(gradients(made, row, 0), gradients(made, row, 0))
    other, _ = oracle("dropping", batch="full")
    assert not torch.equal(gradients(other, row, 0), gradients(other, row, 1)), "of all the data, but other numbers"


def test_what_was_announced_and_not_asked_for_is_forgotten():
    made, row = oracle("tanh_network", BatchedGradients)
    made.ahead(range(AGENTS), row.expand(AGENTS, -1), 0)
    gradients(made, row, 1)
    row.mul_(2)
    late = torch.empty_like(row)
    made(2, row, 0, late)
    assert torch.equal(late, gradients(oracle("tanh_network")[0], row, 0)[2])


@both_ways
def test_the_loss_scale_changes_no_bit_where_nothing_underflows(oracle_class):
    found, losses = [], []
    for scale in (1.0, 64.0, 1024.0):
        made, row = oracle("tanh_network", oracle_class, Precision.named("float16", scale))
        found.append(gradients(made, row, 0))
        losses.append(made.losses.collect().tolist())
    assert found[0].dtype == torch.float32 and losses[0] == losses[1] == losses[2]
    # Numbers below 2^-14 have fewer bits in float16 than others; scaled up, they have all of them.
    assert torch.equal(found[1], found[2])
    large = found[0].abs() > 2.0**-9
    assert large.float().mean() > 0.8 and torch.equal(found[0][large], found[2][large])
    exact = gradients(*oracle("tanh_network", oracle_class, Precision(torch.float32)), 0)
    assert 0 < (found[2] - exact).abs().max() < 2e-3


def test_only_16_bit_precisions_autocast_and_only_float16_is_scaled():
    assert Precision.named("float64", 8) == Precision(torch.float64)
    assert Precision.named("bfloat16", 8) == Precision(torch.float32, torch.bfloat16)
    assert Precision.named("float16", 8) == Precision(torch.float32, torch.float16, 8)


@both_ways
def test_a_batch_of_one_that_a_network_cannot_use_is_explained(oracle_class):
    made, row = oracle("normed", oracle_class, batch=5)
    with pytest.raises(
        ConfigError, match="data.batch: an agent's last batch holds a single example, .* choose another"
    ):
        gradients(made, row, 1)
    made, row = oracle("tanh_network", oracle_class, batch=5)
    assert gradients(made, row, 1).isfinite().all(), "another network can"


def test_losses_are_averaged_until_collected_and_remember_the_first_that_is_not_finite():
    losses = Losses(3, torch.device("cpu"))
    for step, values in enumerate([(1.0, 2.0, 3.0), (2.0, float("nan"), 5.0), (6.0, 1.0, float("inf"))]):
        for place, value in enumerate(values):
            losses.add(place, step, torch.tensor(value))
    assert losses.first_bad().tolist() == [np.inf, 1, 2]
    collected = losses.collect()
    assert collected[0] == 3 and np.isnan(collected[1]) and collected[2] == np.inf
    losses.add(0, 3, torch.tensor(4.0))
    assert losses.collect()[0] == 4 and losses.first_bad().tolist() == [np.inf, 1, 2]
