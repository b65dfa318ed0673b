"""Every decentralized method against its dense recurrence, and against what theory says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.algorithms import decentralized as dense
from tests.algorithms.decentralized import CLIP, HALVED, IRREGULAR, PAIRS, RHO, ROUNDS, STEPS, periodic, static
from tests.algorithms.problems import configuration, run
from tests.algorithms.recurrences import AGENTS, DECAY, LR, MU, Problem, out_degree
from tests.algorithms.resuming import assert_resuming_twice_is_exact, assert_same
from tests.ranks import on_ranks, parts

Recurrence = Callable[[Problem, np.ndarray], np.ndarray]


def own(name: str) -> str:
    return f"tests.algorithms.decentralized:{name}"


METROPOLIS, PUSH = "tests.algorithms.recurrences:metropolis", "tests.algorithms.recurrences:out_degree"
DROPS = {"name": "step", "milestones": [40, 70], "factor": 0.3}
WARMED = {"schedule": {"name": "constant", "warmup": 10, "warmup_from": 0.0}}
LOCAL = {"local_steps": STEPS}
Case = tuple[dict[str, Any], dict[str, Any], Recurrence]


def on(W: Any, recurrence: Callable[..., np.ndarray], **settings: Any) -> Recurrence:
    return lambda problem, X: recurrence(problem, X, W, **settings)


CASES: dict[str, Case] = {
    "dsgd, local steps": (
        {"name": "dsgd", **LOCAL, "momentum": MU, "nesterov": True, "clip_norm": CLIP},
        {"graph": METROPOLIS},
        on(IRREGULAR, dense.local_dsgd),
    ),
    "dsgd, AdamW, pairs": (
        {"name": "dsgd", "direction": {"name": "adamw", "weight_decay": 0.02}},
        {"graph": own("matchings")},
        on(PAIRS, dense.adamw_dsgd),
    ),
    "dsgd, SAM": (
        {"name": "dsgd", "order": "adapt-while-communicate", "rho": RHO, "momentum": MU},
        {"graph": METROPOLIS},
        on(IRREGULAR, dense.sharp_dsgd),
    ),
    "noloco, pairs": (
        {"name": "noloco", **LOCAL, "alpha": 0.8, "beta": 0.4},
        {"graph": own("matchings")},
        on(PAIRS, dense.noloco),
    ),
    "noloco, irregular": (
        {"name": "noloco", **LOCAL, "alpha": 0.8, "beta": 0.4},
        {"graph": METROPOLIS},
        on(IRREGULAR, dense.noloco),
    ),
    "qgm": ({"name": "qgm", "momentum": MU, "clip_norm": CLIP}, {"graph": METROPOLIS}, on(IRREGULAR, dense.qgm)),
    "qgm, Nesterov, pairs": (
        {"name": "qgm", "momentum": MU, "nesterov": True, "global_momentum": 0.7, "clip_norm": CLIP},
        {"graph": own("matchings")},
        on(PAIRS, dense.qgm, slow=0.7, nesterov=True),
    ),
    "qgm, from a rate of 0": (
        {"name": "qgm", "momentum": MU},
        {"graph": METROPOLIS, **WARMED},
        on(IRREGULAR, dense.warm_qgm),
    ),
    "q-saddle": (
        {"name": "q-saddle", "momentum": MU, "rho": RHO, "clip_norm": CLIP},
        {"graph": METROPOLIS},
        on(IRREGULAR, dense.q_saddle),
    ),
    "q-saddle, pairs": (
        {"name": "q-saddle", "momentum": MU, "rho": RHO, "clip_norm": CLIP},
        {"graph": own("matchings")},
        on(PAIRS, dense.q_saddle),
    ),
    "gradient-tracking": ({"name": "gradient-tracking"}, {"graph": METROPOLIS}, on(IRREGULAR, dense.diging)),
    "gradient-tracking, pairs": (
        {"name": "gradient-tracking"},
        {"graph": own("matchings")},
        on(PAIRS, dense.diging),
    ),
    "gradient-tracking, combined": (
        {"name": "gradient-tracking", "order": "adapt-then-combine"},
        {"graph": own("matchings")},
        on(PAIRS, dense.combined_tracking),
    ),
    "d2": ({"name": "d2", "momentum": MU}, {"graph": METROPOLIS}, on(IRREGULAR, dense.d2)),
    "d2, rates": (
        {"name": "d2"},
        {"graph": METROPOLIS, "schedule": DROPS},
        on(IRREGULAR, dense.d2_in_steps, rate=lambda t: LR * 0.3 ** ((t >= 40) + (t >= 70))),
    ),
    "d2, from a rate of 0": (
        {"name": "d2"},
        {"graph": METROPOLIS, **WARMED},
        on(IRREGULAR, dense.d2_in_steps, rate=dense.warmed),
    ),
    "exact-diffusion": ({"name": "exact-diffusion", "momentum": MU}, {"graph": METROPOLIS}, on(HALVED, dense.d2)),
    "sgp": ({"name": "sgp", "momentum": MU}, {"graph": PUSH}, on(static(out_degree()), dense.sgp)),
    "sgp, small steps, in turns": (
        {"name": "sgp", "momentum": MU},
        {"graph": own("pushes"), "gossip": {"transport": "messages", "scheme": {"name": "exact", "gamma": 0.6}}},
        on(periodic(dense.pushes()), dense.sgp, gamma=0.6),
    ),
    "ngc": ({"name": "ngc", "momentum": MU, "clip_norm": CLIP}, {"graph": METROPOLIS}, on(IRREGULAR, dense.ngc)),
    "ngc, both gradients": (
        {"name": "ngc", "momentum": MU, "cross_weight": 0.7, "clip_norm": CLIP},
        {"graph": METROPOLIS},
        on(IRREGULAR, dense.ngc, a=0.7),
    ),
    "ngc, packed cross-gradients": (
        {"name": "ngc", "momentum": MU, "clip_norm": CLIP},
        {"graph": METROPOLIS, "gossip": {"cross_gradients": {"name": "topk", "fraction": 0.3}}},
        on(IRREGULAR, dense.packed_ngc),
    ),
    "n-saddle, SAM": (
        {"name": "n-saddle", "momentum": MU, "rho": RHO, "clip_norm": CLIP},
        {"graph": METROPOLIS},
        on(IRREGULAR, dense.ngc, slope=dense.sharp),
    ),
    "relaysgd, chain": (
        {"name": "relaysgd", "momentum": MU},
        {"graph": "chain"},
        lambda problem, X: dense.relay(problem, X, dense.chain()),
    ),
    "relaysgd, binary tree": (
        {"name": "relaysgd", "momentum": MU},
        {"graph": "binary-tree"},
        lambda problem, X: dense.relay(problem, X, dense.binary_tree()),
    ),
}
every_case = pytest.mark.parametrize("case", CASES)


def configured(case: str, **sections: Any) -> Any:
    settings, more, _ = CASES[case]
    train = {"rounds": ROUNDS, "precision": "float64", "device": "cpu"} | sections.pop("train", {})
    keys = {"model": "logistic", "train": train, "evaluate": {"every": 50}} | more | sections
    return configuration({"lr": LR, "weight_decay": DECAY} | settings, agents=AGENTS, **keys)


@every_case
@on_ranks(4)
def test_it_equals_its_dense_recurrence_and_the_ranks_do_not_change_a_bit(case, comm):
    start: list[np.ndarray] = []

    def keep(composed: Any) -> None:
        start.append(np.tile(composed.rows.flatten().detach().numpy(), (AGENTS, 1)))

    (outcome,) = [run(configured(case), part, before=keep) for part in parts(comm, (3, 1))]
    assert_same(comm.bcast(outcome, comm.size - 1), outcome, "3 ranks against 1")
    if comm.rank == 0:
        expected = CASES[case][2](Problem(), start[0])
        assert np.abs(expected - start[0]).max() > 0.05
        assert np.abs(outcome.rows - expected).max() <= 1e-12


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.full) if number % 2 else case for number, case in enumerate(CASES)]
)
@on_ranks(2)
def test_several_agents_at_once_give_the_same_to_rounding(case, comm):
    alone, together = (run(configured(case, train={"rounds": 10, "batched": each}), comm) for each in (False, True))
    assert np.abs(alone.rows - together.rows).max() <= 1e-12


# What the settings of the conformance test leave out: time-varying graphs, and state that they do not have.
RESUMED = [
    case for case in CASES if any(word in case for word in ("pairs", "in turns", "SAM", "rates", "tree", "chain"))
]


@pytest.mark.parametrize("case", RESUMED)
@on_ranks(3)
def test_resuming_twice_on_other_numbers_of_ranks_is_exact(case, comm):
    config = configured(case, train={"rounds": 11}, evaluate={"every": 11})
    assert_resuming_twice_is_exact(config, comm, [(3, 2, 3)])
