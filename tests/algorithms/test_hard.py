"""The hardest methods as plug-ins: equal to dense recurrences, on any ranks, resumed twice, told beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.algorithms.averaging import SHARE, STEPS, equally, k_steps
from tests.algorithms.corrected import scaffold
from tests.algorithms.problems import configuration, run
from tests.algorithms.recurrences import AGENTS, DECAY, LR, ROUNDS, Problem, metropolis
from tests.algorithms.resuming import assert_resuming_twice_is_exact, assert_same
from tests.ranks import on_ranks, parts

MU = 0.8


def squeezed(problem: Problem, X: np.ndarray) -> np.ndarray:
    """Quasi-global momentum, mixed by the scheme."""
    W, m, left = metropolis(), 0.0, np.zeros_like(X)
    for t in range(ROUNDS):
        D = MU * m + problem.gradients(X, t)
        Z = X - LR * D
        v = Z + left
        c = v.astype(np.float32).astype(np.float64)
        left = v - c
        before, X = X, Z + 0.5 * (W @ c - c)
        m = MU * m + (1 - MU) * (before - X) / LR
    return X


def controlled(problem: Problem, X: np.ndarray) -> np.ndarray:
    return scaffold(2, equally, k_steps, 1.0, ROUNDS)(problem, X[0])[None]


PARTIAL = {"participation": SHARE, "local_steps": STEPS}
CASES: dict[str, tuple[dict[str, Any], Callable[[Problem, np.ndarray], np.ndarray]]] = {
    "qgm squeezed": ({"momentum": MU}, squeezed),
    "Controlled": (PARTIAL, controlled),
}
every_case = pytest.mark.parametrize("name", CASES)


def configured(name: str, **sections: Any) -> Any:
    method, _, squeezing = name.partition(" ")
    settings = {"name": method if squeezing else f"tests.algorithms.hard:{name}", "lr": LR, "weight_decay": DECAY}
    settings |= CASES[name][0]
    if squeezing:
        scheme, graph = "tests.algorithms.hard:Squeezed", "tests.algorithms.recurrences:metropolis"
        sections = {"gossip": {"scheme": scheme}, "graph": graph} | sections
    train = {"rounds": ROUNDS, "precision": "float64", "device": "cpu"} | sections.pop("train", {})
    return configuration(settings, agents=AGENTS, model="logistic", train=train, **sections)


@every_case
@on_ranks(3)
def test_it_equals_its_dense_recurrence_and_the_ranks_do_not_change_a_bit(name, comm):
    start: list[np.ndarray] = []

    def keep(composed: Any) -> None:
        start.append(np.tile(composed.rows.flatten().detach().numpy(), (AGENTS, 1)))

    outcomes = [run(configured(name), part, before=keep) for part in parts(comm, (3,), (1, 2))]
    expected = CASES[name][1](Problem(), start[0])
    assert np.abs(expected - start[0][: len(expected)]).max() > 0.05
    assert np.abs(outcomes[0].rows - expected).max() <= 1e-12
    assert_same(*outcomes, f"{name}: fewer ranks against 3")


@every_case
@on_ranks(2)
def test_several_agents_at_once_give_the_same_to_rounding(name, comm):
    alone, together = (run(configured(name, train={"batched": batched}), comm) for batched in (False, True))
    assert np.abs(alone.rows - together.rows).max() <= 1e-12


@every_case
@on_ranks(3)
def test_resuming_twice_on_other_numbers_of_ranks_is_exact(name, comm):
    assert_resuming_twice_is_exact(configured(name, evaluate={"every": 10}), comm, [(3, 2, 3), (2, 3, 1), (1, 1, 1)])


@every_case
@on_ranks(1, 3)
def test_memory_and_bytes_are_told_beforehand(name, comm):
    from mpidl.experiment.compose import compose
    from mpidl.experiment.rehearsal import rehearse

    config = configured(name)
    needs = rehearse(config, comm.size)
    composed = compose(config, comm)
    composed.training.run()
    state = composed.state.bytes()
    sent = sum(comm.allgather(composed.meters.bytes_sent))
    composed.close()
    if comm.rank == 0:
        assert needs.state_bytes == state
    assert sent == needs.run_bytes == needs.round_bytes * ROUNDS
