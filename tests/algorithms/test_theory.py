"""What theory says of decentralized methods on unlike agents: the optimum, consensus, sums that stay, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpidl.algorithms import ALGORITHMS
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.errors import ConfigError
from mpidl.experiment.schema import build_topology
from tests.algorithms.problems import configuration, label, run
from tests.algorithms.recurrences import AGENTS, LR, out_degree, quadratic_terms
from tests.ranks import on_ranks

PUSH = "tests.algorithms.recurrences:out_degree"
DROP = {"name": "step", "milestones": [0.5], "factor": 0.1}


def optimum() -> np.ndarray:
    """Of the mean of all agents' quadratics."""
    H, h = quadratic_terms()
    return np.linalg.solve(H.mean(0), h.mean(0))


def quadratic(algorithm: dict[str, Any], rounds: int = 500, **sections: Any) -> Any:
    train = {"rounds": rounds, "precision": "float64"}
    keys = {"data": {"batch": "full"}, "train": train, "evaluate": {"every": rounds, "models": ["local"]}}
    return configuration({"lr": 0.1} | algorithm, "squares", AGENTS, **keys | {"model": "logistic"} | sections)


EXACT = [
    ({"name": "d2"}, {}),
    ({"name": "d2", "momentum": 0.5}, {}),
    ({"name": "exact-diffusion"}, {}),
    ({"name": "exact-diffusion"}, {"graph": {"name": "grid", "rows": 1}}),
    ({"name": "gradient-tracking", "lr": 0.05}, {}),
    ({"name": "gradient-tracking", "order": "adapt-then-combine"}, {}),
    ({"name": "relaysgd"}, {}),
    ({"name": "relaysgd"}, {"graph": "binary-tree"}),
    # Where the rate drops by ten, a method whose corrections did not follow it would leave the optimum.
    ({"name": "d2"}, {"schedule": DROP}),
    ({"name": "exact-diffusion"}, {"schedule": DROP}),
    ({"name": "gradient-tracking", "lr": 0.05}, {"schedule": DROP}),
]


@pytest.mark.parametrize(("algorithm", "sections"), EXACT, ids=lambda keys: "-".join(map(str, keys.values())) or "ring")
@on_ranks(2)
def test_it_reaches_the_optimum_of_unlike_agents(algorithm, sections, comm):
    rows = run(quadratic(algorithm, 600, **sections), comm).rows
    assert np.abs(rows - optimum()).max() <= 1e-8


@on_ranks(2)
def test_methods_without_corrections_stay_apart_from_it(comm):
    for name in ("dsgd", "qgm", "q-saddle"):
        assert np.abs(run(quadratic({"name": name, "momentum": 0.0}, 300), comm).rows - optimum()).max() > 1e-2


@on_ranks(2)
def test_push_agrees_on_the_mean_where_rows_of_the_graph_do_not_sum_to_one(comm):
    sums = out_degree().sum(1)
    assert np.abs(sums - 1).max() > 0.1
    settings, start = {"name": "sgp", "momentum": 0.5}, []

    def keep(composed: Any) -> None:
        start.extend(comm.allgather(composed.training.algorithm.X.clone().numpy()))

    # Agents that start apart and take no step agree on the mean of where they started.
    model = {"name": "logistic", "init": "per-agent"}
    rows = run(quadratic(settings | {"lr": 0.0}, 150, graph=PUSH, model=model), comm, before=keep).rows
    assert np.abs(rows - np.concatenate(start).mean(0)).max() <= 1e-10
    assert np.ptp(np.concatenate(start), axis=0).max() > 0.1
    # The smaller the steps, the nearer to each other and to the optimum of all, in proportion.
    errors = []
    for lr in (0.02, 0.01):
        rows = run(quadratic(settings | {"lr": lr, "momentum": 0.0}, 1500, graph=PUSH), comm).rows
        errors.append(np.abs(rows - optimum()).max())
    assert errors[1] < 0.1 and 0.4 < errors[1] / errors[0] < 0.6


@on_ranks(2)
def test_trackers_sum_to_the_gradients_in_every_round(comm):
    from mpidl.experiment.compose import compose

    for order in ("diging", "adapt-then-combine"):
        composed = compose(configuration({"name": "gradient-tracking", "order": order, "lr": LR}), comm)
        algorithm = composed.training.algorithm
        for _ in range(5):
            composed.training.run_round()
            tracked, last = (
                sum(comm.allgather(block.sum(0).numpy())) for block in (algorithm.present["tracker"], algorithm.last)
            )
            assert np.abs(tracked - last).max() <= 1e-12 and np.abs(last).max() > 0.1
        composed.close()


@pytest.mark.parametrize(
    ("parent", "child"),
    [
        ({"name": "qgm", "nesterov": True}, {"name": "q-saddle", "nesterov": True, "rho": 0.0}),
        ({"name": "dsgd", "momentum": 0.9}, {"name": "dsgd", "momentum": 0.9, "rho": 0.0}),
        ({"name": "csgd"}, {"name": "csgd", "rho": 0.0}),
        ({"name": "dsgd", "local_steps": 3}, {"name": "noloco", "local_steps": 3, "direction": "sgd"}),
        ({"name": "dsgd"}, {"name": "qgm", "momentum": 0.0}),
        ({"name": "ngc", "momentum": 0.9}, {"name": "n-saddle", "momentum": 0.9, "rho": 0.0}),
    ],
    ids=lambda keys: "-".join(map(str, keys.values())),
)
@on_ranks(2)
def test_it_is_its_parent_where_what_it_adds_is_nothing(parent, child, comm):
    outer = {"alpha": 1.0, "beta": 0.0} if child["name"] == "noloco" else {}
    first, second = (run(configuration({"lr": LR} | keys), comm) for keys in (parent, child | outer))
    if "rho" in child:
        assert np.array_equal(first.rows, second.rows)
    assert np.abs(first.rows - second.rows).max() <= 1e-12


@on_ranks(1)
def test_sam_costs_a_second_gradient_and_leaves_parameters_their_bits(comm):
    from mpidl.experiment.compose import compose

    composed = compose(configuration({"name": "q-saddle", "rho": 0.1, "lr": 0.0}), comm)
    algorithm = composed.training.algorithm
    before, asked, oracle = algorithm.X.clone(), [], algorithm.oracle

    def counting(agents, rows, steps, out):
        asked.extend(agents)
        oracle(agents, rows, steps, out)

    algorithm.oracle = counting
    algorithm.gradient(algorithm.X)
    assert bool((before == algorithm.X).all()) and sorted(asked) == sorted(2 * list(range(7)))
    composed.close()


DECENTRALIZED = [name for name in ALGORITHMS if issubclass(ALGORITHMS.find(name), Decentralized)]


@pytest.mark.parametrize(
    "settings",
    [
        *({"name": name} for name in DECENTRALIZED),
        {"name": "dsgd", "local_steps": 3},
        {"name": "dsgd", "local_steps": 2, "rho": 0.1},
        {"name": "q-saddle", "rho": 0.0},
        {"name": "n-saddle", "rho": 0.0},
    ],
    ids=label,
)
@on_ranks(1)
def test_a_round_takes_as_many_gradients_as_are_told_of_its_settings(settings, comm):
    from mpidl.experiment.compose import compose

    agents = 6
    config = configuration(settings, agents=agents)
    composed = compose(config, comm)
    algorithm, asked, oracle = composed.training.algorithm, [], composed.training.algorithm.oracle

    def counting(agents, rows, steps, out):
        asked.extend(agents)
        oracle(agents, rows, steps, out)

    algorithm.oracle = counting
    composed.training.run_round()
    composed.close()
    # Everyone on a ring has two neighbours.
    formula = config.method.gradients(config.algorithm)
    assert len(asked) == agents * eval(formula, {"deg": 2, "H": getattr(config.algorithm, "local_steps", 1)})


SPARSE = {"name": "grid", "rows": 4}


@pytest.mark.parametrize(
    ("algorithm", "agents", "sections", "words"),
    [
        ("d2", 16, {"graph": SPARSE}, ["d2 diverges on this graph: the eigenvalue -0.4", "1.216", "exact-diffusion"]),
        ("d2", 8, {"graph": "directed-ring"}, ["d2 diverges on this graph", "lazy"]),
        ("exact-diffusion", 8, {"graph": "one-peer-matching"}, ["exact-diffusion needs a graph that stays the same"]),
        ("dsgd", 7, {"graph": PUSH}, ["not doubly stochastic", "sgp"]),
        ("ngc", 7, {"graph": "exponential"}, ["ngc needs symmetric weights"]),
        ("relaysgd", 8, {"graph": "ring"}, ["relaysgd needs a tree, 7 undirected edges among 8 agents"]),
    ],
)
def test_a_graph_that_cannot_serve_is_refused_in_one_sentence(algorithm, agents, sections, words):
    with pytest.raises(ConfigError, match="^[^\n]*$") as error:
        build_topology(configuration({"name": algorithm}, agents=agents, **sections), agents)
    for word in words:
        assert word in str(error.value)


CHOCO = {"scheme": {"name": "choco", "gamma": 0.3}, "compressor": "sign"}


@pytest.mark.parametrize(
    ("algorithm", "gossip", "sentence"),
    [
        ("relaysgd", CHOCO, "relaysgd mixes no rows, so that 'choco' with gamma 0.3 would do nothing"),
        ("relaysgd", {"scheme": {"name": "exact", "gamma": 0.5}}, "relaysgd mixes no rows, so that 'exact' with gamma"),
        ("dsgd", {"cross_gradients": "sign"}, "dsgd sends no cross-gradients that 'sign' could pack"),
        ("dsgd", CHOCO | {"wire": "bfloat16"}, "'bfloat16' has no use where rows travel packed by 'choco'"),
    ],
)
def test_gossip_that_an_algorithm_would_not_heed_is_refused_in_one_sentence(algorithm, gossip, sentence):
    with pytest.raises(ConfigError, match="^[^\n]*$") as error:
        configuration({"name": algorithm}, gossip=gossip)
    assert sentence in str(error.value)


@on_ranks(1)
def test_a_compressor_that_loses_more_than_there_is_is_warned_of_where_losses_come_back(comm):
    from mpidl.experiment.compose import compose

    def warnings(scheme: str, **compressor: Any) -> list[str]:
        gossip = {"scheme": {"name": scheme, "gamma": 0.5}, "compressor": {"name": "qsgd"} | compressor}
        composed = compose(configuration({"name": "dsgd"}, gossip=gossip), comm)
        composed.close()
        return [warning for warning in composed.warnings if "so that errors may grow without end" in warning]

    for scheme in ("choco", "deepsqueeze"):
        # √d/s, for the d numbers of a row.
        (warning,) = warnings(scheme, bits=2)
        assert warning.startswith(f"the scheme '{scheme}' sends later") and "'qsgd' may be 8 times" in warning
        assert not warnings(scheme, bits=2, contractive=True) and not warnings(scheme, bits=8)
    assert not warnings("direct", bits=2)


def test_a_smaller_step_of_gossip_makes_a_graph_fit_for_d2():
    gossip = {"scheme": {"name": "exact", "gamma": 0.9}}
    build_topology(configuration({"name": "d2"}, agents=16, graph=SPARSE, gossip=gossip), 16)
    build_topology(configuration({"name": "exact-diffusion"}, agents=16, graph=SPARSE), 16)


@on_ranks(1)
def test_d2_warns_on_even_rings(comm):
    from mpidl.experiment.compose import compose

    for agents, warned in ((8, True), (7, False)):
        composed = compose(configuration({"name": "d2"}, agents=agents), comm)
        warnings = [warning for warning in composed.warnings if "d2 never forgets an error" in warning]
        assert bool(warnings) == warned and all("-0.333333" in warning for warning in warnings)
        composed.close()
