"""What a run starts from follows from its configuration and the numbers of examples."""

from __future__ import annotations

from typing import Any

import pytest

from mpidl import config as reading
from mpidl.errors import ConfigError
from mpidl.experiment import Config
from mpidl.experiment.inputs import Inputs

RUN: dict[str, Any] = {
    "agents": 4,
    "model": "logistic",
    "data": {"name": "digits", "batch": 16},
    "algorithm": {"name": "dsgd", "lr": 0.1},
    "graph": "ring",
    "train": {"epochs": 2},
}


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
    inputs = Inputs.read(reading.validate(Config, RUN | keys), 1)
    assert sum(inputs.sizes.values()) == 1437
    assert (inputs.length.rounds, inputs.length.rounds_per_epoch) == (rounds, rounds_per_epoch)


def test_a_batch_that_no_agent_can_fill_is_refused() -> None:
    def read(batch: int, **data: Any) -> Inputs:
        return Inputs.read(reading.validate(Config, RUN | {"data": {"name": "digits", "batch": batch, **data}}), 1)

    assert max(read(360).sizes.values()) == 360
    told = "data.batch: 100,000 is more than the 360 examples that any agent has; give at most so many, or 'full'"
    with pytest.raises(ConfigError, match=told):
        read(100_000)
    uneven = {"split": {"name": "dirichlet-class", "alpha": 0.1}}
    sizes = sorted(read(1, **uneven).sizes.values())
    assert sizes[0] < sizes[-1]
    read(sizes[-1], **uneven)
    with pytest.raises(ConfigError, match=f"more than the {sizes[-1]:,} examples"):
        read(sizes[-1] + 1, **uneven)
