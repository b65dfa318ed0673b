"""Algorithms under compressed schemes: the same bits on any ranks, resumed twice, bytes and memory told beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.algorithms.problems import configuration, label, run
from tests.algorithms.recurrences import AGENTS, DECAY, LR
from tests.algorithms.resuming import assert_resuming_twice_is_exact, assert_same
from tests.ranks import on_ranks, parts

ROUNDS = 12
IRREGULAR, DIRECTED = "tests.algorithms.recurrences:metropolis", "tests.algorithms.recurrences:out_degree"
TOPK, SIGN = {"name": "topk", "fraction": 0.2}, {"name": "sign", "per": "tensor"}
QSGD, RANDOMK = {"name": "qsgd", "bits": 8, "per": 16}, {"name": "randomk", "fraction": 0.3}
LOWRANK = {"name": "lowrank", "rank": 1}


def choco(gamma: float = 0.3) -> dict[str, Any]:
    return {"name": "choco", "gamma": gamma}


SQUEEZE, DIRECT = {"name": "deepsqueeze", "gamma": 0.3}, {"name": "direct", "gamma": 0.3}
MOMENTUM = {"name": "dsgd", "momentum": 0.8}
# Method, graph, gossip.
CASES: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "choco": (MOMENTUM, IRREGULAR, {"scheme": choco(), "compressor": TOPK}),
    "choco, overlapped": (MOMENTUM, IRREGULAR, {"scheme": choco(), "compressor": QSGD, "overlap": True}),
    "choco on a graph that repeats": (MOMENTUM, {"name": "base-k", "k": 2}, {"scheme": choco(), "compressor": SIGN}),
    "choco on a graph drawn anew": (MOMENTUM, "one-peer-matching", {"scheme": choco(), "compressor": RANDOMK}),
    "choco, warm-started": ({"name": "qgm", "momentum": 0.8}, IRREGULAR, {"scheme": choco(), "compressor": LOWRANK}),
    "choco, read by neighbours": ({"name": "ngc"}, IRREGULAR, {"scheme": choco(), "compressor": TOPK}),
    "deepsqueeze, two quantities": (
        {"name": "gradient-tracking"},
        IRREGULAR,
        {"scheme": SQUEEZE, "compressor": QSGD},
    ),
    "deepsqueeze, packed edges": (
        {"name": "ngc"},
        IRREGULAR,
        {"scheme": SQUEEZE, "compressor": SIGN, "cross_gradients": TOPK},
    ),
    "direct on a directed graph": ({"name": "sgp"}, DIRECTED, {"scheme": DIRECT, "compressor": RANDOMK}),
    "edges on a narrow wire": ({"name": "ngc"}, IRREGULAR, {"wire": "float32"}),
    "relayed on a narrow wire": ({"name": "relaysgd"}, "chain", {"wire": "float32"}),
}
# Beside those above, so that every scheme is seen with low rank.
MORE: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "deepsqueeze, low rank": (MOMENTUM, IRREGULAR, {"scheme": SQUEEZE, "compressor": LOWRANK}),
    "direct, low rank": (MOMENTUM, IRREGULAR, {"scheme": DIRECT, "compressor": LOWRANK}),
}
every_case = pytest.mark.parametrize("name", CASES)


def configured(name: str, **sections: Any) -> Any:
    settings, graph, gossip = (CASES | MORE)[name]
    train = {"rounds": ROUNDS, "precision": "float64", "device": "cpu"}
    gossip = {"transport": "messages"} | gossip | sections.pop("gossip", {})
    method = {"lr": LR, "weight_decay": DECAY, **settings}
    return configuration(method, agents=AGENTS, model="logistic", train=train, graph=graph, gossip=gossip, **sections)


@pytest.mark.parametrize("name", CASES | MORE)
@on_ranks(4)
def test_neither_ranks_nor_the_way_of_rows_change_a_bit(name, comm):
    outcomes = [run(configured(name, gossip={"transport": "auto"}), comm)]
    outcomes += [run(configured(name), part) for part in parts(comm, (4,), (3, 1), (2,))]
    assert_same(comm.bcast(outcomes[0]), outcomes[0], "rank 0 against this one")
    for outcome in outcomes[1:]:
        assert_same(outcomes[0], outcome, name)
    assert np.isfinite(outcomes[0].rows).all()


@pytest.mark.parametrize("settings", [MOMENTUM, {"name": "gradient-tracking"}, {"name": "n-saddle"}], ids=label)
@on_ranks(2)
def test_a_compressor_that_loses_nothing_leaves_exact_gossip(settings, comm):
    whole = {"name": "cast", "dtype": "float64"}
    exact, *packed = (
        run(configuration({"lr": LR} | settings, agents=AGENTS, graph=IRREGULAR, gossip=gossip), comm)
        for gossip in (
            {"scheme": {"name": "exact", "gamma": 0.8}},
            *(
                {"scheme": {"name": name, "gamma": 0.8}, "compressor": whole}
                for name in ("choco", "deepsqueeze", "direct")
            ),
        )
    )
    for outcome in packed:
        assert np.abs(outcome.rows - exact.rows).max() <= 1e-12


@on_ranks(3)
def test_what_packing_loses_is_recorded_with_every_record_after_a_round(comm):
    """Of all quantities; topk of a fifth keeps a fifth of the square at least, sign of a tensor at least 1/d."""
    outcome = run(configured("deepsqueeze, packed edges"), comm)
    names = ("compression_error", "compression_error_cross-gradients")
    by_sign, by_topk = (np.array([record[name] for record in outcome.records]) for name in names)
    assert np.isnan([by_sign[0], by_topk[0]]).all()
    assert (by_topk[1:] > 0).all() and (by_topk[1:] <= 0.8).all()
    assert (by_sign[1:] > 0).all() and (by_sign[1:] < 1).all()
    whole = {"scheme": choco(), "compressor": {"name": "cast", "dtype": "float64"}}
    outcome = run(configuration(MOMENTUM | {"lr": LR}, agents=AGENTS, graph=IRREGULAR, gossip=whole), comm)
    assert [record["compression_error"] for record in outcome.records[1:]] == [0, 0, 0]
    packed = {"name": "fedavg", "participation": 0.5, "upload": {"compressor": RANDOMK, "error_feedback": False}}
    outcome = run(configuration(packed, agents=AGENTS, train={"rounds": 20, "device": "cpu"}), comm)
    errors = [record["compression_error"] for record in outcome.records[1:]]
    assert abs(np.mean(errors) - 0.7) < 0.1


@every_case
@on_ranks(3)
def test_resuming_twice_on_other_numbers_of_ranks_is_exact(name, comm):
    assert_resuming_twice_is_exact(configured(name, evaluate={"every": 6}), comm, [(3, 2, 3)])


@every_case
@on_ranks(1, 3)
def test_bytes_and_memory_are_told_beforehand(name, comm):
    from mpidl.comm.gossip.sizes import PARCEL_BLOCKS
    from mpidl.experiment.compose import compose
    from mpidl.experiment.rehearsal import rehearse
    from mpidl.rows import room

    config = configured(name)
    needs = rehearse(config, comm.size)
    composed = compose(config, comm)
    composed.training.run()
    sent = sum(comm.allgather(composed.meters.bytes_sent))
    state, transit = composed.state.bytes(), 0
    for made in composed.gossip._made.values():
        # What leaves from blocks is counted with the state; here is what lies on its way.
        blocks = made.blocks if hasattr(made, "blocks") else made._memory.own
        own = room(len(blocks) * len(blocks[0]), blocks[0].shape[1], blocks[0].dtype)
        transit += made.memory - own
        assert hasattr(made, "blocks") or len(blocks) == PARCEL_BLOCKS
    composed.close()
    if comm.rank == 0:
        assert needs.state_bytes == state
        drawn = config.graph.name == "one-peer-matching"
        headers = 64 * 2 * comm.size * 12
        assert transit <= needs.transit_bytes + headers
        assert drawn or needs.transit_bytes <= transit
    if config.graph.name != "one-peer-matching":
        assert sent == needs.round_bytes * ROUNDS
