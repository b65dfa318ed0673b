"""What must hold for every algorithm. A new one enters by being registered: nothing here knows any by name."""

from __future__ import annotations

import numpy as np
import pytest

from mpidl.algorithms import ALGORITHMS
from mpidl.algorithms.decentralized.base import Decentralized
from tests.algorithms.problems import VARIANTS, configuration, label, run
from tests.algorithms.resuming import assert_resuming_twice_is_exact, assert_same
from tests.ranks import on_ranks, parts

# Where who takes part would change what is compared.
ALL = {"participation": 1.0}

# Numbers of ranks before a run is stopped, after it is resumed, and after it is once more.
WAYS = [(4, 2, 3), (2, 3, 1), (1, 1, 1)]

every_variant = pytest.mark.parametrize("settings", VARIANTS, ids=label)


@every_variant
@on_ranks(4)
def test_neither_ranks_nor_resumes_change_a_bit_and_memory_and_bytes_are_told_beforehand(settings, comm):
    config, way = configuration(settings), WAYS[VARIANTS.index(settings) % 2]
    outcomes = {part.size: as_told(config, part) for part in parts(comm, (4,), (3, 1), (2,))}
    for size, outcome in outcomes.items():
        assert_same(outcomes[4], outcome, f"{size} ranks against 4")
    assert_same(comm.bcast(outcomes[4]), outcomes[4], "rank 0 against this one")
    assert_resuming_twice_is_exact(config, comm, [way], outcomes[4])


def as_told(config, comm):
    """The outcome of a run, which takes the memory and sends the bytes that are told without ranks."""
    from mpidl.experiment.rehearsal import rehearse

    needs, composed = rehearse(config, comm.size), []
    outcome = run(config, comm, before=composed.append)
    if comm.rank == 0:
        assert needs.state_bytes == composed[0].state.bytes()
    # How many are drawn by chance is told on average only.
    if getattr(config.algorithm, "sampling", "") != "bernoulli" or config.algorithm.participation == 1:
        assert outcome.bytes_sent == needs.run_bytes == needs.round_bytes * needs.rounds
    return outcome


@pytest.mark.parametrize("settings", [each for each in VARIANTS if each.get("sampling") == "bernoulli"], ids=label)
@on_ranks(3)
def test_bytes_are_told_beforehand_where_chance_leaves_nobody_out(settings, comm):
    as_told(configuration(settings | ALL), comm)


@on_ranks(2)
def test_bytes_of_a_run_that_ends_within_a_period_of_its_graph_are_told_beforehand(comm):
    from mpidl.experiment.rehearsal import rehearse

    graph = {"name": "alternating", "graphs": ["ring", "complete"]}
    config = configuration({"name": "dsgd", "lr": 0.1}, graph=graph, train={"rounds": 3, "device": "cpu"})
    outcome, needs = run(config, comm), rehearse(config, comm.size)
    # 7 agents send 14 rows on the ring and 42 on the complete graph.
    assert outcome.bytes_sent == needs.run_bytes == (14 + 42 + 14) * 4 * needs.parameters
    assert needs.round_bytes == (14 + 42) / 2 * 4 * needs.parameters


@pytest.mark.full
@every_variant
@on_ranks(4)
def test_resuming_in_every_way_is_exact(settings, comm):
    assert_resuming_twice_is_exact(configuration(settings), comm, WAYS)


@every_variant
@on_ranks(2)
def test_identical_agents_do_what_one_alone_does(settings, comm):
    if not ALGORITHMS.find(settings["name"]).copies_are_one:
        pytest.skip("what has not arrived yet counts as the start")
    sections = {"problem": "copies", "data": {"batch": "full"}}
    settings = settings | {key: value for key, value in ALL.items() if key in settings}
    many = run(configuration(settings, agents=6, **sections), comm)
    for part in parts(comm, (1,)):
        alone = run(configuration(settings, agents=1, **sections), part)
        assert np.abs(many.rows - alone.rows).max() <= 1e-12


@every_variant
@on_ranks(1)
def test_one_agent_is_plain_sgd(settings, comm):
    import torch

    from mpidl.experiment.compose import compose

    if not ALGORITHMS.find(settings["name"]).plain_alone:
        pytest.skip("its own closed form is tested elsewhere")
    config = configuration(settings, agents=1)
    # A second composition of the same configuration provides the network, its start and the batches.
    composed = compose(config, comm)
    module, batches = composed.rows.module, composed.batches
    start = composed.training.algorithm.model(composed.training.algorithm.models[-1]).reshape(-1).clone()
    composed.rows.point(start)
    parameters = list(module.parameters())
    momentum, nesterov = settings.get("momentum", 0.0), settings.get("nesterov", False)
    optimizer = torch.optim.SGD(
        parameters, settings["lr"], momentum=momentum, nesterov=nesterov, weight_decay=settings["weight_decay"]
    )
    steps = settings.get("local_steps", 1)
    fresh = getattr(config.algorithm, "local_momentum", "keep") == "reset"
    for step in range(config.train.rounds * steps):
        if fresh and step % steps == 0:
            optimizer.state.clear()
        x, y = batches.batch(0, step)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        if "clip_norm" in settings:
            torch.nn.utils.clip_grad_norm_(parameters, settings["clip_norm"])
        optimizer.step()
    expected = torch.cat([value.detach().reshape(-1) for value in parameters]).numpy()
    composed.close()
    # torch divides by the norm + 1e-6 when it clips.
    tolerance = 1e-12 if "clip_norm" not in settings else 1e-6
    assert np.abs(run(config, comm).rows[0] - expected).max() <= tolerance


@every_variant
@on_ranks(4)
def test_bytes_are_those_of_the_formula(settings, comm):
    agents, rounds = 4, 6
    settings = settings | {key: value for key, value in ALL.items() if key in settings}
    train = {"rounds": rounds, "precision": "float64", "device": "cpu"}
    config = configuration(settings, agents=agents, train=train)
    outcome = run(config, comm)
    method = ALGORITHMS.find(settings["name"])
    row = outcome.rows.shape[1] * 8
    # A ring of four has eight directed edges, a chain six.
    edges = 6 if config.graph is not None and config.graph.name == "chain" else 8
    sent = method.rows_sent(config.algorithm, agents, edges)
    assert outcome.bytes_sent == sum(sent.values()) * row * rounds
    if comm.size == agents:
        if issubclass(method, Decentralized):
            headers = outcome.bytes_mpi - outcome.bytes_sent
            assert 0 <= headers <= rounds * len(sent) * edges * 128
        else:
            # In shared memory all together read every slice of a row and of the sum but the one that is theirs.
            assert outcome.bytes_mpi == 0
            assert outcome.bytes_shared == rounds * 2 * (agents - 1) * row * method.rows_up(config.algorithm)


@pytest.mark.parametrize("name", list(ALGORITHMS))
@on_ranks(2)
def test_training_is_recorded_and_learns(name, comm):
    # As the algorithm is by itself, but for steps by the hundred between two rounds.
    config = configuration({"name": name})
    if (getattr(config.algorithm, "local_steps", None) or 0) > 3:
        config = configuration({"name": name, "local_steps": 3})
    outcome = run(config, comm)
    for record in outcome.records:
        for key, value in record.items():
            if record["round"] or key not in ("train_loss", "gradient_norm", "drift"):
                assert np.isfinite(value).all(), key
    assert outcome.records[-1]["train_loss"] < outcome.records[1]["train_loss"]
