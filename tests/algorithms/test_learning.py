"""Every decentralized method learns digits from unlike data: a smoke test of the whole path, by the consensus model.

Untrained networks are right once in ten; those that step uphill, or mix with a wrong sign, stay there.
"""

from __future__ import annotations

from typing import Any

import pytest

from mpidl import config as reading
from mpidl.algorithms import ALGORITHMS
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.experiment import Config
from tests.algorithms.problems import run
from tests.ranks import on_ranks

ROUNDS, FLOOR = 150, 0.8
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "dsgd": [{"momentum": 0.9}, {"local_steps": 4}, {"direction": "lamb", "lr": 0.05}, {"rho": 0.1, "momentum": 0.9}],
    "noloco": [{"lr": 0.002, "local_steps": 4}],
    "qgm": [{}],
    "q-saddle": [{}],
    "gradient-tracking": [{}, {"order": "adapt-then-combine", "lr": 0.2}],
}
CASES = [
    {"name": name, "lr": 0.1} | settings
    for name in ALGORITHMS
    if issubclass(ALGORITHMS.find(name), Decentralized)
    for settings in SETTINGS.get(name, [{"momentum": 0.9}])
]


@pytest.mark.parametrize("settings", CASES, ids=lambda keys: "-".join(map(str, keys.values())))
@on_ranks(2)
def test_it_learns_digits(settings, comm):
    tree = "tree" in ALGORITHMS.find(settings["name"]).needs(ALGORITHMS.parse(settings))
    config = reading.validate(
        Config,
        {
            "seed": 1,
            "agents": 8,
            "model": {"name": "mlp", "hidden": [32]},
            "data": {"name": "digits", "batch": 32, "split": {"name": "dirichlet-class", "alpha": 0.3}},
            "algorithm": settings,
            "graph": {"sgp": "exponential"}.get(settings["name"], "binary-tree" if tree else "ring"),
            "train": {"rounds": ROUNDS, "device": "cpu"},
            "evaluate": {"every": ROUNDS, "models": ["consensus"]},
        },
    )
    first, last = run(config, comm).records
    assert first["test_accuracy_consensus"] < 0.3
    assert last["test_accuracy_consensus"] >= FLOOR
