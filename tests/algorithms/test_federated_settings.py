"""What federated methods refuse, each in one sentence that names the key; and what they say of their settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpidl.algorithms import ALGORITHMS
from mpidl.compressors import COMPRESSORS
from mpidl.errors import ConfigError
from tests.algorithms.problems import configuration, run
from tests.algorithms.resuming import assert_resuming_twice_is_exact
from tests.ranks import on_ranks

REFUSED = [
    ({"name": "fedavg", "participation": 0}, "participation: 0 is not allowed: input should be greater than 0"),
    ({"name": "fedavg", "participation": 1.5}, "participation: 1.5 is not allowed: input should be less than or equal"),
    ({"name": "fedavg", "local_steps": 0}, "local_steps: 0 is not allowed: input should be greater than 0"),
    ({"name": "fedavg", "local_epochs": 0}, "local_epochs: 0 is not allowed: input should be greater than 0"),
    ({"name": "fedavg", "local_epochs": 1, "local_steps": 1}, "give one of 'local_steps' and 'local_epochs', not both"),
    ({"name": "fedavg", "post_local": -1}, "post_local: -1 is not allowed"),
    ({"name": "fedavg", "straggler": {"share": 1}}, "straggler.share: 1 is not allowed: input should be less than 1"),
    ({"name": "fedavg", "straggler": {"share": 0.5}}, "straggler: stragglers do fewer passes than others"),
    (
        {"name": "fedavg", "local_epochs": 2, "straggler": {"share": 0.5, "epochs": 3}},
        "straggler.epochs: 3 are more than local_epochs (2)",
    ),
    ({"name": "fedavg", "server": "adm"}, "server.name: server 'adm' is not known; did you mean 'adam'?"),
    ({"name": "fedavg", "server": {"name": "adam", "tau": 0}}, "server.tau: 0 is not allowed"),
    ({"name": "fedprox", "mu": -1}, "mu: -1 is not allowed: input should be greater than or equal to 0"),
    ({"name": "feddyn", "alpha": 0}, "alpha: 0 is not allowed: input should be greater than 0"),
    ({"name": "feddyn", "alpha": -0.1}, "alpha: -0.1 is not allowed: input should be greater than 0"),
    ({"name": "feddyn", "clip": "official"}, "clip: 'official' says what is clipped, not to which norm"),
    (
        {"name": "feddyn", "upload": {"compressor": {"name": "topk", "fraction": 0.1}}},
        "upload.compressor: h follows from whole rows",
    ),
    (
        {"name": "fedavg", "upload": {"compressor": {"name": "topk", "fraction": 0}}},
        "upload.compressor.fraction: 0 is not allowed",
    ),
    ({"name": "scaffold", "upload": {}}, "upload: 'upload' is not known"),
    ({"name": "fedga", "beta": -0.1}, "beta: -0.1 is not allowed"),
    ({"name": "gradalign", "local_steps": 3}, "local_steps: 'local_steps' is not known"),
    ({"name": "scaffold", "momentum": 0.9}, "momentum: option 2 divides by plain steps"),
    ({"name": "fednova", "local_momentum": "keep"}, "local_momentum: 'keep' is not allowed"),
    ({"name": "fednova", "direction": "adam"}, "direction: 'direction' is not known"),
    ({"name": "mime", "momentum": 0.9}, "momentum: agents step by the server's statistics"),
    ({"name": "mime", "server": {"name": "momentum", "lr": 0.5}}, "server.lr: the server takes no step of its own"),
    ({"name": "slowmo", "server": "adam"}, "server: 'server' is not known"),
    ({"name": "scaled-local-sgd", "beta": 1}, "beta: 1 is not allowed: input should be less than 1"),
    ({"name": "scaled-local-sgd", "floor": 0}, "floor: 0 is not allowed: input should be greater than 0"),
]


@pytest.mark.parametrize(("settings", "sentence"), REFUSED, ids=[sentence[:40] for _, sentence in REFUSED])
def test_settings_that_make_no_sense_are_refused_in_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ALGORITHMS.parse(settings)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "rounds"),
    [
        ({"local_steps": 4}, 10.0),
        ({"local_steps": 4, "participation": 0.5}, 20.0),
        ({"local_epochs": 2, "participation": 0.5}, 1.0),
        ({"local_epochs": 4, "straggler": {"share": 0.5, "epochs": 2}}, 1 / 3),
        ({"local_epochs": 4, "straggler": {"share": 0.5, "epochs": "random"}}, 1 / 3.25),
        ({"local_epochs": 4, "straggler": {"share": 0.5, "epochs": 0}}, 1 / 2),
        ({}, 40.0),
    ],
)
def test_an_epoch_has_as_many_rounds_as_draw_every_example_once(settings: dict[str, Any], rounds: float) -> None:
    assert ALGORITHMS.parse({"name": "fedavg"} | settings).rounds_per_epoch(40) == pytest.approx(rounds)


@on_ranks(1)
def test_fedga_says_where_its_local_steps_take_away_more_than_beta_adds(comm):
    from mpidl.experiment.compose import compose

    warnings: dict[float, tuple[str, ...]] = {}
    records = {}
    for beta in (0.01, 0.2):
        config = configuration({"name": "fedga", "lr": 0.1, "beta": beta, "local_steps": 5})
        composed = compose(config, comm)
        warnings[beta] = composed.warnings
        composed.close()
        records[beta] = run(config, comm).records[-1]["net_regularizer"]
    assert any("beta/2 - lr(K - 1)/4 is -0.095; aligning needs a beta above 0.2" in line for line in warnings[0.01])
    assert not any("beta/2" in line for line in warnings[0.2])
    assert records == {beta: pytest.approx(beta / 2 - 0.1) for beta in warnings}


@on_ranks(2)
def test_drift_is_the_mean_distance_from_x_of_those_who_took_part(comm):
    """One step of length lr·‖g‖ each: drift is lr times the mean norm of the gradients."""
    config = configuration({"name": "fedavg", "lr": 0.03, "participation": 0.5})
    for record in run(config, comm).records[1:]:
        assert record["drift"] == pytest.approx(0.03 * record["gradient_norm"], rel=1e-12)


@pytest.mark.parametrize("name", list(COMPRESSORS))
@on_ranks(3)
def test_compressed_uploads_are_counted_as_packed_and_resumed_exactly(name, comm):
    from mpidl.experiment.compose import compose
    from mpidl.experiment.rehearsal import rehearse

    keys = {"topk": {"fraction": 0.2}, "randomk": {"fraction": 0.2}, "qsgd": {"bits": 4}, "lowrank": {"rank": 1}}
    compressor = {"name": name} | keys.get(name, {"dtype": "bfloat16"} if name == "cast" else {})
    settings = {"name": "fedavg", "participation": 0.5, "local_steps": 2, "upload": {"compressor": compressor}}
    config = configuration(settings)
    composed = compose(config, comm)
    algorithm = composed.training.algorithm
    row, packed = algorithm.x.numel() * 8, algorithm.uplink.row_bytes
    composed.close()
    assert packed < row / 2
    outcome = run(config, comm)
    assert outcome.bytes_sent == 12 * 4 * (row + packed) == rehearse(config, comm.size).round_bytes * 12
    assert_resuming_twice_is_exact(config, comm, [(3, 2, 3), (1, 3, 2)])


@pytest.mark.parametrize(
    ("settings", "gradients", "messages"),
    [
        ({"name": "scaffold"}, "K", "2 up, 2 down"),
        ({"name": "scaffold", "option": 1}, "K and a pass", "2 up, 2 down"),
        ({"name": "scaled-local-sgd"}, "K", "2 up, 2 down"),
        (
            {"name": "scaled-local-sgd", "scaling": "local", "preconditioner": "oasis"},
            "K and a Hessian product",
            "1 up, 1 down",
        ),
        ({"name": "mimelite", "server": "sgd"}, "K and a pass", "2 up, 1 down"),
        ({"name": "mimelite", "server": "adam"}, "K and a pass", "2 up, 3 down"),
        ({"name": "csgd", "rho": 0.1}, "2", "1 up, 1 down"),
    ],
)
def test_what_a_round_costs_is_told_of_the_settings(settings, gradients, messages):
    method, parsed = ALGORITHMS.find(settings["name"]), ALGORITHMS.parse(settings)
    assert (method.gradients(parsed), method.messages(parsed)) == (gradients, messages)


def test_sums_of_two_rows_are_told_to_take_twice_the_memory():
    from mpidl.experiment.rehearsal import rehearse

    one, two = (rehearse(configuration({"name": name}), 2).transit_bytes for name in ("fedavg", "scaffold"))
    assert two == pytest.approx(2 * one, abs=1)


@on_ranks(2)
def test_state_in_a_file_is_the_same_bits(comm):
    """Agents' corrections and momenta, of which a few fit into the budget, while agents go from rank to rank."""
    settings = {"name": "feddyn", "participation": 0.5, "local_steps": 2, "momentum": 0.9, "local_momentum": "keep"}
    whole = run(configuration(settings), comm)
    spilled = run(
        configuration(settings, train={"rounds": 12, "precision": "float64", "device": "cpu", "state_memory": "1 kB"}),
        comm,
    )
    assert np.array_equal(whole.rows, spilled.rows)
    for one, other in zip(whole.records, spilled.records, strict=True):
        assert one["train_loss"] == other["train_loss"] or not one["round"]


@on_ranks(1)
def test_a_compressor_that_leaves_nothing_out_changes_nothing(comm):
    base = {"name": "fedavg", "participation": 0.5, "local_steps": 2}
    whole = {"compressor": {"name": "topk", "fraction": 1.0}}
    rows = [run(configuration(base | more), comm).rows for more in ({}, {"upload": whole})]
    assert np.abs(rows[0] - rows[1]).max() <= 1e-12
