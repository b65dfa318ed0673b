"""One gradient at a time: exact scaling, statistics of the first one only, and what goes wrong with a batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mpidl.comm.meters import Meters
from mpidl.data import DATA
from mpidl.data.batches import Storage
from mpidl.errors import ConfigError
from mpidl.models import LOSSES
from mpidl.parameters import RowModule
from mpidl.state import State
from mpidl.training.batched import BatchedGradients
from mpidl.training.gradients import Gradients
from mpidl.training.learner import Learner
from mpidl.training.observations import Observations, mean_losses
from mpidl.training.precision import Precision
from mpidl.training.statistics import OwnStatistics
from tests.training import plugins

AGENTS = 3
EXACT = Precision(torch.float64)
both_ways = pytest.mark.parametrize("oracle_class", [Gradients, BatchedGradients], ids=["one by one", "at once"])


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Here:
    """A world of one rank, and sums over agents who are all here."""

    mine = everyone = tuple(range(AGENTS))
    rank = 0
    placement = SimpleNamespace(owners=(0,) * AGENTS)

    def sum(self, leaves: Any, positions: int, owners: Any) -> Tensor:
        return sum(row for _, row in leaves)


def oracle(
    network: str = "normed",
    oracle_class: type[Gradients] = Gradients,
    precision: Precision = EXACT,
    batch: int | str = 4,
    loss: str = "cross-entropy",
    policy: str = "average",
) -> tuple[Any, Tensor]:
    """An oracle for three agents, and the row that they start from."""
    torch.manual_seed(1)
    source = DATA.parse({"name": "tests.training.plugins:even", "agents": AGENTS, "split": "given", "batch": batch})
    dataset = source.load()
    batches = source.batches(dataset, source.deal(dataset, AGENTS, 0), 0, Storage("cpu", precision.rows))
    rows = RowModule(getattr(plugins, network)((plugins.FEATURES,), plugins.CLASSES).to(precision.rows))
    statistics = None
    if rows.float_buffers:
        state = State(range(AGENTS), AGENTS, rows.size, precision.rows, "cpu")
        statistics = OwnStatistics(state, rows.flatten_buffers(precision.rows), Here(), Here(), policy)
    learner = Learner(rows, batches, LOSSES.parse(loss), precision, 0)
    made = oracle_class(learner, statistics, Observations(torch.device("cpu")), Meters())
    return made, rows.flatten()


def gradients(made: Any, row: Tensor, step: int) -> Tensor:
    """Of all agents, which all stand at this row."""
    out = torch.empty(AGENTS, len(row), dtype=row.dtype)
    made(range(AGENTS), row.expand(AGENTS, -1), [step] * AGENTS, out)
    return out


def losses_of(made: Any) -> dict[int, float]:
    """By agent, the mean loss since the last call."""
    return mean_losses(made.observations.collect())


@both_ways
def test_a_second_gradient_of_a_step_counts_neither_in_statistics_nor_in_losses(oracle_class):
    once, row = oracle(oracle_class=oracle_class)
    twice, _ = oracle(oracle_class=oracle_class)
    for step in range(3):
        first = gradients(once, row, step)
        assert torch.equal(gradients(twice, row, step), first)
        elsewhere = gradients(twice, row + 1, step)
        assert not torch.allclose(elsewhere, first)
        assert torch.equal(once._statistics.floats, twice._statistics.floats)
        assert torch.equal(once._statistics.integers, twice._statistics.integers)
        assert once._statistics.integers.flatten().tolist() == [step + 1] * AGENTS
        row = row - 0.1 * first.mean(0)
    assert once.observations.examples == twice.observations.examples == 12 + 12 + 8
    seen = losses_of(once)
    assert seen == losses_of(twice) and list(seen) == [0, 1, 2]
    assert losses_of(once) == {}, "collected losses are not counted again"


def test_statistics_are_reestimated_in_chunks_of_equal_size_and_pooled_over_agents():
    made, row = oracle(policy="reestimate")
    learner, statistics = made._learner, made._statistics
    # The shares are 6, 8 and 10 examples.
    learner.batches.chunk_size = 5
    pooled, _ = statistics.of_shared_model(learner, row)
    weight, bias = (learner.rows.views(row)[name] for name in ("0.weight", "0.bias"))
    means, variances = [], []
    for agent, used in enumerate([[3, 3], [4, 4], [5, 5]]):
        chunks = [learner.batches.chunk(agent, number)[0] @ weight.T + bias for number in range(len(used))]
        assert [len(chunk) for chunk in chunks] == used
        means.append(torch.stack([chunk.mean(0) for chunk in chunks]).mean(0))
        variances.append(torch.stack([chunk.var(0) for chunk in chunks]).mean(0))
    shares = torch.tensor([[6.0], [8.0], [10.0]], dtype=torch.float64) / 24
    mean = (shares * torch.stack(means)).sum(0)
    variance = (shares * (torch.stack(variances) + (torch.stack(means) - mean) ** 2)).sum(0)
    assert torch.allclose(pooled, torch.cat([mean, variance]), rtol=0, atol=1e-13)
    learner.batches.sizes = (1, 1, 1)
    with pytest.raises(ConfigError, match="evaluate.buffers: 'reestimate' needs an agent with two examples"):
        statistics.of_shared_model(learner, row)


def test_both_gradients_of_a_step_see_the_same_random_numbers():
    made, row = oracle("dropping")
    assert torch.equal(gradients(made, row, 0), gradients(made, row, 0))
    other, _ = oracle("dropping", batch="full")
    assert not torch.equal(gradients(other, row, 0), gradients(other, row, 1)), "of all the data, but other numbers"


def test_agents_of_one_call_may_stand_anywhere_and_more_than_once():
    made, row = oracle("tanh_network", BatchedGradients)
    other = row + 1
    asked, rows, steps = [2, 0, 2], [row, row, other], [0, 1, 0]
    out = [torch.empty_like(row) for _ in asked]
    made(asked, rows, steps, out)
    for agent, at, step, gradient in zip(asked, rows, steps, out, strict=True):
        alone, expected = oracle("tanh_network")[0], torch.empty_like(row)
        alone([agent], [at], [step], [expected])
        assert torch.allclose(gradient, expected, rtol=0, atol=1e-14)


def test_the_gradient_of_all_data_is_the_mean_over_examples_and_leaves_no_trace():
    made, row = oracle("tanh_network")
    made._learner.batches.chunk_size = 4
    full, _ = oracle("tanh_network", batch="full")
    expected, whole = gradients(full, row, 0), torch.empty(AGENTS, len(row), dtype=row.dtype)
    for agent in range(AGENTS):
        made.whole(agent, row, whole[agent])
    assert torch.allclose(whole, expected, rtol=0, atol=1e-14)
    assert losses_of(made) == {} and made.observations.examples == 0


def test_a_hessian_product_is_the_derivative_of_the_gradient():
    made, row = oracle("tanh_network")
    vector, product = torch.randn(len(row), dtype=row.dtype, generator=torch.manual_seed(3)), torch.empty_like(row)
    made.hessian_product(1, row, 0, vector, product)
    h = 1e-5
    ahead, behind = (gradients(made, row + sign * h * vector, 0)[1] for sign in (1, -1))
    assert torch.allclose(product, (ahead - behind) / (2 * h), rtol=0, atol=1e-8)


@both_ways
def test_the_loss_scale_changes_no_bit_where_nothing_underflows(oracle_class):
    rows, losses = [], []
    for scale in (1.0, 64.0, 1024.0):
        made, row = oracle("tanh_network", oracle_class, Precision.named("float16", scale))
        rows.append(gradients(made, row, 0))
        losses.append(losses_of(made))
    assert rows[0].dtype == torch.float32 and losses[0] == losses[1] == losses[2]
    # Numbers below 2^-14 have fewer bits in float16 than others; scaled up, they have all of them.
    assert torch.equal(rows[1], rows[2])
    large = rows[0].abs() > 2.0**-9
    assert large.float().mean() > 0.8 and torch.equal(rows[0][large], rows[2][large])
    exact = gradients(*oracle("tanh_network", oracle_class, Precision(torch.float32)), 0)
    assert 0 < (rows[2] - exact).abs().max() < 2e-3


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


def test_losses_are_averaged_until_collected_and_remember_the_round_of_the_first_that_is_not_finite():
    seen = Observations(torch.device("cpu"))
    for step, values in enumerate([(1.0, 2.0, 3.0), (2.0, float("nan"), 5.0), (6.0, 1.0, float("inf"))]):
        seen.round = step // 2
        for agent, value in enumerate(values):
            seen.see(agent, step, torch.tensor(value), torch.ones(1), 1)
    assert seen.first_bad() == {1: 0, 2: 1}
    means = mean_losses(seen.collect())
    assert means[0] == 3 and np.isnan(means[1]) and means[2] == np.inf
    seen.see(0, 3, torch.tensor(4.0), torch.ones(1), 1)
    assert mean_losses(seen.collect()) == {0: 4} and seen.first_bad() == {1: 0, 2: 1}


def test_what_two_ranks_saw_of_an_agent_adds_up_to_the_same_bits_whoever_saw_it():
    values = [0.1, 0.2, 0.3, 0.7, 1e-9, 3.0]
    outcomes = []
    for ranks in (1, 2, 3):
        parts = [Observations(torch.device("cpu"), movable=True) for _ in range(ranks)]
        for step, value in enumerate(values):
            parts[step % ranks].round = step
            parts[step % ranks].see(0, step, torch.tensor(value, dtype=torch.float64), torch.ones(1), 1)
        outcomes.append(mean_losses(np.concatenate([part.collect() for part in reversed(parts)])))
    assert outcomes[0] == outcomes[1] == outcomes[2]
