"""Runs on some of the ranks of a case, and runs that stop and resume."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import numpy as np

from mpidl.experiment import Config
from tests.algorithms import problems
from tests.ranks import parts


def configuration(algorithm: str | dict[str, Any] = "dsgd", problem: str = "even", **sections: Any) -> Config:
    """As in tests/algorithms/problems.py, with five agents on data from plugins.py."""
    data = {"name": f"tests.training.plugins:{problem}"} | sections.pop("data", {})
    settings = {"name": algorithm, "lr": 0.2} if isinstance(algorithm, str) else algorithm
    train = {"rounds": 8, "precision": "float64", "device": "cpu"} | sections.pop("train", {})
    model = "logistic" if problem == "spiked" else {"name": "mlp", "hidden": [6], "activation": "tanh"}
    return problems.configuration(settings, data=data, train=train, **{"agents": 5, "model": model} | sections)


def on_nodes(*nodes: tuple[int, ...]) -> AbstractContextManager[object]:
    """Meanwhile, runs take these ranks, and no others, for those that can share memory."""
    from mpidl.comm.world import World
    from mpidl.experiment import compose

    class OnNodes(World):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.node_ranks = next(node for node in nodes if self.rank in node)

    return mock.patch.object(compose, "World", OnNodes)


def on_parts(comm: Any, sizes: tuple[int, ...], work: Callable[[Any], Any]) -> list[Any]:
    """What `work` returned on rank 0 of the first so many ranks, for each number in turn; the same on all ranks."""
    results = []
    for size in sizes:
        result = None
        for part in parts(comm, (size,)):
            result = work(part)
        results.append(comm.bcast(result))
    return results


def trained(config: Config, comm: Any, sizes: tuple[int, ...]) -> list[problems.Outcome]:
    """The outcome of the run on each of these numbers of ranks."""
    return on_parts(comm, sizes, lambda part: problems.run(config, part))


def same(one: problems.Outcome, other: problems.Outcome) -> bool:
    """Whether parameters and records hold the same bits."""
    assert len(one.records) == len(other.records)
    assert np.array_equal(one.rows, other.rows)
    for first, second in zip(one.records, other.records, strict=True):
        assert first.keys() == second.keys()
        for key in first:
            assert np.array_equal(first[key], second[key], equal_nan=True), key
    return True


def interrupted(config: Config, comm: Any, after: int) -> dict[str, list[Any]]:
    """The declared state after so many rounds, by name what each rank held."""
    from mpidl.experiment.compose import compose

    composed = compose(config, comm)
    for _ in range(after):
        composed.training.run_round()
    composed.training.settle()
    mine = {declared.name: (ids, values.clone()) for declared, ids, values in composed.state.items()}
    composed.close()
    return {name: comm.allgather(part) for name, part in mine.items()}


def resumed(config: Config, comm: Any, saved: dict[str, list[Any]], after: int) -> problems.Outcome:
    """The same run from there on."""

    def resume(composed: Any) -> None:
        for name, of_ranks in saved.items():
            for ids, values in of_ranks:
                composed.state.load(name, ids, values)
        composed.training.done = after

    return problems.run(config, comm, before=resume)
