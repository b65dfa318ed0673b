"""Learning-rate schedules against their formulas, in rounds, epochs and fractions of the run."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mpidl import config as reading
from mpidl.config import Duration
from mpidl.errors import ConfigError
from mpidl.training import SCHEDULES
from tests.training.runs import configuration

PER_EPOCH, TOTAL = 5, 40


def factors(**settings: Any) -> list[float]:
    schedule = SCHEDULES.parse(settings)
    return [schedule.at(t, PER_EPOCH, TOTAL) for t in range(TOTAL)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "constant"}, lambda t: 1),
        ({"name": "cosine"}, lambda t: (1 + math.cos(math.pi * t / 40)) / 2),
        ({"name": "cosine", "final": 0.2}, lambda t: 0.2 + 0.4 * (1 + math.cos(math.pi * t / 40))),
        ({"name": "linear"}, lambda t: 1 - t / 40),
        ({"name": "linear", "final": 0.5}, lambda t: 1 - t / 80),
        # 12 rounds, 4 epochs of 5 rounds, and 0.75 of 40 rounds.
        (
            {"name": "step", "milestones": [12, "4 epochs", 0.75]},
            lambda t: 1 if t < 12 else 0.1 if t < 20 else 0.01 if t < 30 else 0.001,
        ),
        ({"name": "step", "milestones": ["1.5 epochs"], "factor": 0.5}, lambda t: 1 if t < 8 else 0.5),
        ({"name": "step", "milestones": []}, lambda t: 1),
    ],
    ids=str,
)
def test_every_family_follows_its_formula(settings, expected):
    assert set(SCHEDULES) == {"constant", "step", "cosine", "linear"}, "a new family needs its formula here"
    assert factors(**settings) == pytest.approx([expected(t) for t in range(TOTAL)], rel=1e-15)


@pytest.mark.parametrize(("warmup", "rounds"), [(10, 10), ("10 rounds", 10), ("2 epochs", 10), (0.25, 10), (0, 0)])
@pytest.mark.parametrize("share", [None, 0.0, 0.4])
@pytest.mark.parametrize("form", [None, "line", "floor"])
def test_a_warm_up_multiplies_whatever_follows_it(warmup, rounds, share, form):
    given = {"warmup_from": share, "warmup_form": form}
    settings = {"warmup": warmup} | {key: value for key, value in given.items() if value is not None}
    w = 0.1 if share is None else share
    ramp = [1.0] * TOTAL
    for t in range(rounds):
        ramp[t] = max(w, t / rounds) if form == "floor" else w + (1 - w) * t / rounds
    assert factors(name="constant", **settings) == pytest.approx(ramp, rel=1e-15)
    product = [a * b for a, b in zip(ramp, factors(name="linear"), strict=True)]
    assert factors(name="linear", **settings) == pytest.approx(product, rel=1e-15)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"name": "step", "milestones": [0.7, 0.5]}, "milestones: 0.5 does not come after 0.7"),
        ({"name": "step", "milestones": ["5 epochs", "5 epochs"]}, "5 epochs does not come after 5 epochs"),
        ({"name": "step"}, "milestones: is missing"),
        ({"name": "cosine", "final": 2}, "final: 2 is not allowed"),
        ({"name": "constant", "warmup": "a while"}, "warmup: 'a while' is not a duration"),
        ({"name": "constant", "warmup_form": "flor"}, "warmup_form: 'flor' is not allowed"),
        ({"name": "constant", "warmup": "-3 rounds"}, "is not a duration"),
        ({"name": "constant", "warmup": -3}, "-3 is negative"),
        ({"name": "constant", "warmup": True}, "True is not a duration"),
        ({"name": "cosin"}, "did you mean 'cosine'"),
    ],
)
def test_what_is_no_schedule_is_refused(settings, sentence):
    with pytest.raises(ConfigError) as caught:
        SCHEDULES.parse(settings)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("value", [1, 1000000, 123456789, "2.5 epochs", "0.123456789 epochs", 0.3, 1.0, "7 rounds"])
def test_a_recorded_duration_is_read_as_the_same(value):
    config = configuration(evaluate={"every": value}, schedule={"name": "constant", "warmup": value})
    again = reading.validate(type(config), config.model_dump(mode="json"))
    assert again.evaluate.every == config.evaluate.every == again.schedule.warmup
    for per_epoch, total in ((1, 10), (7, 1000)):
        assert again.evaluate.every.rounds(per_epoch, total) == config.evaluate.every.rounds(per_epoch, total)


def test_a_duration_is_rounded_to_whole_rounds():
    assert Duration(amount=0.5, unit="run").rounds(7, 9) == 4
    assert Duration(amount=1.5, unit="epochs").rounds(7, 9) == 10
    assert Duration(amount=3, unit="rounds").rounds(7, 9) == 3
