"""A run does what its configuration says, with the same bits on any number of ranks."""

from __future__ import annotations

import functools
import shutil
from typing import Any

import numpy as np
import pytest

from mpidl.config import validate
from mpidl.errors import ConfigError, DivergenceError
from mpidl.experiment import Config
from tests.algorithms.problems import run
from tests.ranks import on_ranks
from tests.training.runs import configuration, interrupted, on_parts, resumed, same, trained

PLUG_INS = "tests.training.plugins:"
both_algorithms = pytest.mark.parametrize("algorithm", ["dsgd", "csgd"])


@both_algorithms
@on_ranks(3)
def test_divergence_names_the_same_agent_and_round_on_any_number_of_ranks(algorithm, comm, tmp_path):
    from mpidl.comm.start.failures import describe
    from mpidl.experiment.rank import train
    from mpidl.results import reader

    config = configuration(algorithm, "spiked", evaluate={"every": 1}, train={"rounds": 6})

    def diverge(part: Any) -> tuple[str, int]:
        with pytest.raises(DivergenceError) as caught:
            train(config, part, tmp_path / f"{part.size}.h5")
        return describe(caught.value)

    errors = on_parts(comm, (1, 2, 3), diverge)
    assert errors[0] == errors[1] == errors[2]
    # Agent 3 meets its last example in one of the three batches of its first pass.
    dataset = config.data.load()
    batches = config.data.batches(dataset, config.data.deal(dataset, 5, config.seed), config.seed)
    step = next(step for step in range(3) if batches.batch(3, step)[1].isinf().any())
    sentence, exit_code = errors[0]
    assert sentence.startswith(f"the loss of agent 3 stopped being finite in round {step + 1}; try a smaller algorithm")
    assert exit_code == 3
    for ranks in (1, 2, 3):
        left = reader.open(tmp_path / f"{ranks}.h5")
        assert left.status == "diverged"
        assert left.metrics["round"].tolist() == list(range(step + 2))


@on_ranks(2)
def test_parameters_that_are_not_finite_are_found_while_losses_still_are(comm):
    config = configuration({"name": "csgd", "lr": 1e308, "weight_decay": 1e3}, train={"rounds": 1})
    with pytest.raises(DivergenceError, match="the parameters of the server stopped being finite in round 1"):
        run(config, comm)


@pytest.mark.parametrize(
    ("model", "loss"), [("dropping", "cross_entropy"), ("noisy", "cross_entropy"), ("tanh_network", "jittered")]
)
@on_ranks(3)
def test_random_numbers_of_networks_and_losses_depend_on_no_placement_and_survive_a_resume(model, loss, comm):
    config = configuration(model=PLUG_INS + model, loss=PLUG_INS + loss)
    alone, spread = trained(config, comm, (1, 3))
    assert same(alone, spread)
    assert not np.array_equal(alone.rows, trained(config.model_copy(update={"seed": 6}), comm, (1,))[0].rows)
    (saved,) = on_parts(comm, (2,), functools.partial(interrupted, config, after=3))
    again = resumed(config, comm, saved, after=3)
    assert np.array_equal(again.rows, alone.rows)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@on_ranks(2)
def test_bits_do_not_depend_on_where_in_a_block_a_row_stands(precision, comm):
    """Layers large enough for kernels that look at addresses, and an odd number of parameters."""
    data = {"name": "blobs", "dimension": 784, "examples": 528, "classes": 10, "batch": 33}
    sections = {
        "agents": 2,
        "model": {"name": "mlp", "hidden": [300, 201]},
        "data": data,
        "algorithm": {"name": "dsgd", "lr": 0.1},
        "graph": "ring",
        "train": {"rounds": 12, "precision": precision, "device": "cpu"},
        "evaluate": {"every": 1},
    }
    alone, spread = trained(validate(Config, sections), comm, (1, 2))
    assert alone.rows.shape[1] == 298_021
    assert same(alone, spread)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("batched", [False, True], ids=["", "batched"])
@on_ranks(1)
def test_networks_compute_in_16_bits_on_rows_of_32(batched, precision, comm):
    train = {"precision": precision, "rounds": 30, "batched": batched}
    outcome = run(configuration(train=train, evaluate={"every": 10}), comm)
    assert outcome.rows.dtype == np.float32
    losses = [record["train_loss"] for record in outcome.records[1:]]
    assert losses[2] < losses[1] < losses[0]
    full = run(configuration(train=train | {"precision": "float32"}), comm)
    assert 1e-5 < np.abs(full.rows - outcome.rows).max() < 0.05


@both_algorithms
@pytest.mark.parametrize("model", ["tanh_network", "normed"])
@pytest.mark.parametrize("loss", [None, "decaying"])
@on_ranks(2)
def test_gradients_evaluated_at_once_are_those_of_one_by_one(loss, model, algorithm, comm):
    """Passes of 6 + 2i examples in batches of 4 end with a batch of 2 for every other agent, in rounds of their own."""
    parts = {"model": PLUG_INS + model, "loss": loss and PLUG_INS + loss}
    each, at_once = (
        run(configuration(algorithm, **parts, train={"batched": batched}), comm) for batched in (False, True)
    )
    assert 0 < np.abs(each.rows - at_once.rows).max() < 1e-10
    for one, other in zip(each.records, at_once.records, strict=True):
        for key in one:
            assert np.allclose(one[key], other[key], rtol=0, atol=1e-10, equal_nan=True), key


@on_ranks(1)
def test_a_network_that_cannot_be_batched_is_refused_in_one_sentence(comm):
    with pytest.raises(ConfigError, match=r"train.batched: the network .* cannot be batched \(.*; say false"):
        run(configuration(loss=PLUG_INS + "branching", train={"batched": True}), comm)


@on_ranks(1)
def test_a_loss_that_hides_the_outputs_from_the_accuracy_is_refused(comm):
    with pytest.raises(ConfigError, match="loss: it never calls the network as a whole"):
        run(configuration(model=PLUG_INS + "tanh_network", loss=PLUG_INS + "bypassing"), comm)


def compiled_equals_plain(comm: Any) -> None:
    sections = {"model": PLUG_INS + "normed"}
    plain, compiled = (run(configuration(**sections, train={"compile": on}), comm) for on in (False, True))
    assert np.abs(plain.rows - compiled.rows).max() < 1e-10
    for one, other in zip(plain.records, compiled.records, strict=True):
        assert abs(one["test_loss_consensus"] - other["test_loss_consensus"]) < 1e-10


@on_ranks(1)
def test_training_and_evaluation_are_both_compiled_and_only_once(comm):
    import torch

    graphs, compile_ = [], torch.compile

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compile = functools.partial(compile_, backend=backend)
    try:
        compiled_equals_plain(comm)
    finally:
        torch.compile = compile_
    # One for each mode and each of the sizes: of batches (2, then any), of the agent's model and the average's.
    assert 2 <= len(graphs) <= 4


@pytest.mark.full
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@on_ranks(1)
def test_a_compiled_network_computes_the_same(comm):
    compiled_equals_plain(comm)


@both_algorithms
@on_ranks(3)
def test_sums_in_any_order_are_close(algorithm, comm):
    fixed, free = (run(configuration(algorithm, train={"deterministic": d}), comm) for d in (True, False))
    assert np.abs(fixed.rows - free.rows).max() < 1e-12
    assert abs(fixed.records[-1]["train_loss"] - free.records[-1]["train_loss"]) < 1e-12


def logits(row: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The network of configuration(): 5 inputs, 6 hidden units, 4 classes."""
    hidden = np.tanh(x @ row[:30].reshape(6, 5).T + row[30:36])
    return hidden @ row[36:60].reshape(4, 6).T + row[60:]


@on_ranks(3)
def test_evaluation_is_that_of_the_mean_of_rows_and_of_each_row(comm):
    # 1,100 test examples are three chunks, one for each rank.
    config = configuration(data={"tests": 1100, "validation": 0.3}, evaluate={"local_examples": "all"})
    alone, spread = trained(config, comm, (1, 3))
    assert same(alone, spread)
    data, last = config.data.load(), spread.records[-1]
    aside = config.data.deal(data, 5, config.seed).validation
    assert len(aside) == 15
    for part, x, y in (("test", data.x_test, data.y_test), ("validation", data.x[aside], data.y[aside])):
        for model, rows in (("consensus", [spread.rows.mean(0)]), ("local", spread.rows)):
            z = np.array([logits(row, x) for row in rows])
            losses = np.log(np.exp(z).sum(2)) - z[:, np.arange(len(y)), y]
            hits = z.argmax(2) == y
            assert np.abs(last[f"{part}_loss_{model}"] - losses.mean(1)).max() < 1e-12
            assert np.abs(last[f"{part}_accuracy_{model}"] - hits.mean(1)).max() < 1e-12


@on_ranks(3)
def test_agents_start_together_apart_or_from_a_file(comm, tmp_path):
    import torch

    def start(**model: Any) -> list[np.ndarray]:
        config = configuration(model={"name": "mlp", "hidden": [6], **model})
        return [parts["parameters"] for parts in on_parts(comm, (1, 3), lambda part: _starting(config, part))]

    shared, again = start()
    assert np.array_equal(shared, again) and not (shared - shared[0]).any()
    apart, again = start(init="per-agent")
    assert np.array_equal(apart, again) and len(np.unique(apart[:, 0])) == 5
    assert np.array_equal(apart[0], shared[0])
    module = configuration(model={"name": "mlp", "hidden": [6]}).model.build((5,), 4).double()
    path = tmp_path / "start.pt"
    if comm.rank == 0:
        torch.save(module.state_dict(), path)
    comm.Barrier()
    given, again = start(init=str(path))
    stored = torch.load(path)
    expected = np.concatenate([value.numpy().ravel() for value in stored.values()])
    assert np.array_equal(given, again) and np.array_equal(given, np.tile(expected, (5, 1)))


def _starting(config: Any, comm: Any) -> dict[str, np.ndarray]:
    """The states of all agents before the first round."""
    return {
        name: np.concatenate([values.numpy() for _, values in parts])
        for name, parts in interrupted(config, comm, after=0).items()
    }


@on_ranks(2)
def test_plug_ins_train_as_what_is_built_in(comm):
    plugged = {"model": PLUG_INS + "tanh_network", "loss": PLUG_INS + "cross_entropy"}
    built_in = run(configuration(), comm)
    assert np.array_equal(run(configuration(model=plugged["model"]), comm).rows, built_in.rows)
    assert np.abs(run(configuration(PLUG_INS + "Functional", **plugged), comm).rows - built_in.rows).max() < 1e-15
    assert built_in.records[-1]["train_loss"] < built_in.records[1]["train_loss"]
