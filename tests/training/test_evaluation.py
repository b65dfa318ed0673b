"""Evaluation: agents' own models on a part of the examples and now and then, what it will take, gradients compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpidl.training.forecast import Forecast
from mpidl.training.record import Cadence
from tests.algorithms.problems import configuration, run
from tests.algorithms.recurrences import AGENTS, Problem
from tests.algorithms.resuming import assert_same
from tests.ranks import on_ranks, parts

DSGD = {"name": "dsgd", "lr": 0.05}


def evaluator_of(composed: Any) -> Any:
    return next(hook._evaluator for hook in composed.training.hooks if hasattr(hook, "_cadence"))


@on_ranks(1)
def test_own_models_are_measured_on_examples_of_every_class_in_proportion(comm):
    from mpidl.experiment.compose import compose

    composed = compose(configuration(DSGD, evaluate={"local_examples": 20}), comm)
    evaluator = evaluator_of(composed)
    chosen = np.concatenate(evaluator._own_examples["test"])
    labels = composed.batches.labels("test")
    composed.close()
    assert len(set(chosen.tolist())) == 20 and (np.diff(chosen) > 0).all()
    expected = np.bincount(labels) * 20 / len(labels)
    assert np.abs(np.bincount(labels[chosen], minlength=len(expected)) - expected).max() < 1


@on_ranks(3)
def test_the_examples_follow_from_the_seed_and_the_ranks_do_not_change_a_bit(comm):
    def config(seed: int) -> Any:
        return configuration(DSGD, seed=seed, evaluate={"every": 6, "local_examples": 20})

    outcomes = [run(config(5), part) for part in parts(comm, (1,), (3,))]
    for outcome in outcomes[1:]:
        assert_same(outcomes[0], outcome, "1 rank against 3")
    whole = run(configuration(DSGD, evaluate={"every": 6, "local_examples": "all"}), comm)
    # Which examples are chosen must not reach what is measured on all of them, nor the training.
    assert whole.records[-1]["test_loss_consensus"] == outcomes[-1].records[-1]["test_loss_consensus"]
    assert not np.array_equal(whole.records[-1]["test_loss_local"], outcomes[-1].records[-1]["test_loss_local"])


@on_ranks(2)
def test_own_models_are_measured_with_the_first_record_after_they_are_due(comm):
    evaluate = {"every": 2, "local_every": 5}
    records = run(configuration(DSGD, train={"rounds": 12, "precision": "float64"}, evaluate=evaluate), comm).records
    assert [record["round"] for record in records] == [0, 2, 4, 6, 8, 10, 12]
    assert [record["round"] for record in records if "test_loss_local" in record] == [0, 6, 10, 12]
    assert all("test_loss_consensus" in record for record in records)


class Rounds:
    rounds = 12


@pytest.mark.parametrize(
    ("cadence", "records", "own", "gradients"),
    [
        (Cadence(2, 5, None), 7, 4, 0),
        (Cadence(5, 5, 1), 4, 4, 4),
        (Cadence(20, 20, 20), 2, 2, 2),
        (Cadence(3, 6, 9), 5, 3, 3),
    ],
)
def test_how_often_something_is_measured_is_told_as_it_will_be(cadence, records, own, gradients) -> None:
    told = [cadence.records(Rounds(), rarely) for rarely in (1, cadence.own, cadence.gradients)]
    assert told == [records, own, gradients]


@on_ranks(1, 2)
def test_what_a_run_takes_is_counted_from_one_gradient_and_one_chunk(comm):
    from mpidl.experiment.compose import compose
    from mpidl.training import forecast

    evaluate = {"every": 2, "local_every": 4, "gradients": 6, "local_examples": 20}
    composed = compose(configuration(DSGD, evaluate=evaluate), comm)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forecast, "_seconds", lambda work, device: 1.0)
        composed.training.check()
    composed.close()
    # A second for a batch of 4, of 105 examples that the 12 rounds draw three times, and for all 35 of the test part.
    whole, shared, own = 105 / 4 / comm.size, 1 / comm.size, 20 / 35 * len(composed.world.mine)
    told = composed.forecast
    assert told.training == pytest.approx(3 * whole)
    assert told.longest == pytest.approx(shared + own + whole)
    assert told.evaluation == pytest.approx(7 * shared + 4 * own + 3 * whole)


class Examples:
    own_examples = 0


@pytest.mark.parametrize(
    ("evaluation", "training", "warned"), [(430.0, 8.8, True), (430.0, 900.0, False), (3.0, 0.1, False)]
)
def test_evaluation_that_takes_longer_than_training_is_warned_of(evaluation, training, warned) -> None:
    forecast = Forecast(None, Examples(), None, 0, Cadence(1, 1, None))
    forecast.evaluation, forecast.training, forecast.longest = evaluation, training, 129.0
    assert (forecast.warning is not None) == warned
    if warned:
        assert "evaluation will take about 7 min 10 s, longer than the gradients (8.8 s)" in forecast.warning
        Examples.own_examples = 500
        assert "local_every and local_examples" in forecast.warning
        Examples.own_examples = 0


HALF = {"participation": 0.5, "local_steps": 2}


@pytest.mark.parametrize(
    ("algorithm", "evaluated"),
    # FedDyn has another model, which it keeps only where that is evaluated.
    [({"name": "fedavg", **HALF}, None), ({"name": "feddyn", **HALF}, ["server"]), (DSGD, ["local"])],
    ids=str,
)
@on_ranks(3)
def test_the_variance_and_the_alignment_of_gradients_are_those_of_their_definitions(algorithm, evaluated, comm):
    train = {"rounds": 6, "precision": "float64"}
    evaluate = {"every": 3, "gradients": 6, "models": evaluated}
    config = configuration(algorithm, model="logistic", train=train, evaluate=evaluate)
    crews: list[Any] = []
    outcome = run(config, comm, before=lambda composed: crews.append(composed.training.algorithm))
    crew, problem = crews[0].took_part() or crews[0].everybody(), Problem()
    x = outcome.rows.mean(0)
    g, p = np.stack([problem.whole(agent, x) for agent in crew.agents]), np.array(crew.weights)
    mean = p @ g
    cosines = g @ mean / np.linalg.norm(g, axis=1) / np.linalg.norm(mean)
    last = outcome.records[-1]
    assert last["gradient_variance"] == pytest.approx(p @ ((g - mean) ** 2).sum(1), rel=1e-10)
    assert last["gradient_alignment"] == pytest.approx(cosines.mean(), rel=1e-10)
    assert ["gradient_variance" in record for record in outcome.records] == [True, False, True]
    assert len(crew.agents) == (4 if "participation" in algorithm else AGENTS)
