"""Federated methods against dense recurrences in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.algorithms.federated import CASES, ROUNDS
from tests.algorithms.problems import configuration, run
from tests.algorithms.recurrences import AGENTS, Problem
from tests.ranks import on_ranks, parts

# Of settings that change little of a method, some are tried among the long tests.
LONG = {
    *("fedavg adagrad", "fedavg yogi", "fedavg momentum", "scaffold 1 uniform", "scaffold 2 data", "feddyn uniform"),
    *("scaled adam local inside", "scaled rmsprop global inside", "scaled oasis local inside", "mime adam"),
}
every_case = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.full) if name in LONG else name for name in CASES]
)


def configured(name: str, **sections: Any) -> Any:
    train = {"rounds": ROUNDS, "precision": "float64", "device": "cpu"} | sections.pop("train", {})
    if name == "slowmo":
        sections = {"schedule": {"name": "step", "milestones": [ROUNDS // 2]}} | sections
    sections = {"evaluate": {"every": 30}} | sections
    return configuration(CASES[name][0], agents=AGENTS, model="logistic", train=train, **sections)


@every_case
@on_ranks(4)
def test_it_equals_its_dense_recurrence_agent_by_agent_and_several_at_once(name, comm):
    start: list[np.ndarray] = []

    def keep(composed: Any) -> None:
        start.append(composed.rows.flatten().detach().numpy().copy())

    # That ranks change no bit of what is done agent by agent, the conformance tests hold; several at once are spread
    # over ranks for each method once; its variants, which have a longer name, run on one.
    sizes = (1, 1) if " " in name else (3, 1)
    for part in parts(comm, sizes):
        models: dict[str, np.ndarray] = {}
        batched = comm.rank < sizes[0]
        run(configured(name, train={"batched": batched}), part, before=keep, after=models)
        if part.rank == 0:
            expected = CASES[name][1](Problem(), start[0])
            expected = expected if isinstance(expected, tuple) else (expected,)
            for model, value in zip(("server", "sampled", "all"), expected, strict=False):
                assert np.abs(value - start[0]).max() > 0.05
                assert np.abs(models[model] - value).max() <= 1e-12, f"{model}, batched: {batched}"
