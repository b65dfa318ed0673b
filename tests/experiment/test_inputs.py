"""What a run starts from follows from its configuration and the numbers of examples."""

from __future__ import annotations

from typing import Any

import pytest

from mpidl import config as reading
from mpidl.experiment import Config
from mpidl.experiment.inputs import Inputs


@pytest.mark.parametrize(
    ("keys", "rounds", "rounds_per_epoch"),
    [
        ({}, 44, 22),
        ({"train": {"rounds": 5}}, 5, 22),
        ({"data": {"name": "digits", "batch": "full"}}, 2, 1),
        ({"data": {"name": "digits", "batch": 300}}, 2, 1),
        ({"agents": 3, "data": {"name": "digits", "batch": 100}}, 10, 5),
    ],
)
def test_an_epoch_is_as_many_rounds_as_draw_as_many_examples_as_there_are(
    keys: dict[str, Any], rounds: int, rounds_per_epoch: float
) -> None:
    run = {
        "agents": 4,
        "model": "logistic",
        "data": {"name": "digits", "batch": 16},
        "algorithm": {"name": "dsgd", "lr": 0.1},
        "graph": "ring",
        "train": {"epochs": 2},
    }
    inputs = Inputs.read(reading.validate(Config, run | keys), 1)
    assert sum(inputs.sizes.values()) == 1437
    assert (inputs.length.rounds, inputs.length.rounds_per_epoch) == (rounds, rounds_per_epoch)
