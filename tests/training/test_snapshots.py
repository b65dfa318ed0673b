"""Models kept in the run file are those of the run, and another run can start from them."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from mpidl import results
from mpidl.comm.meters import Meters
from mpidl.errors import ConfigError, ResultsError, SaveError
from mpidl.experiment import keeping
from mpidl.results.run_file import RunFile
from mpidl.results.snapshots import BEST
from mpidl.training.snapshots import BestModels
from tests.algorithms.problems import run
from tests.ranks import on_ranks
from tests.results.kept import FORM, NETWORK, models
from tests.training.runs import configuration, on_parts

NORMED = "tests.training.plugins:normed"
both_algorithms = pytest.mark.parametrize("algorithm", ["dsgd", "csgd"])


def kept(path: Any) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        group = file["snapshots"]
        models = ("round", *group["sha256"])
        return {name: group[name][: group.attrs["records"]] for name in models}


@both_algorithms
@on_ranks(3)
def test_every_model_is_kept_with_the_same_bits_on_any_number_of_ranks(algorithm, comm, tmp_path):
    from mpidl.experiment.rank import train

    config = configuration(algorithm, checkpoint={"snapshots": 3})
    on_parts(comm, (1, 2, 3), lambda part: train(config, part, tmp_path / f"{part.size}.h5"))
    comm.Barrier()
    alone, *spread = (kept(tmp_path / f"{size}.h5") for size in (1, 2, 3))
    assert alone["round"].tolist() == [3, 6, 8]
    for other in spread:
        assert other.keys() == alone.keys()
        assert all(np.array_equal(other[name], alone[name]) for name in alone)
    outcome = run(config, comm)
    last = alone["local"][-1] if algorithm == "dsgd" else alone["server"][-1]
    assert np.array_equal(last, outcome.rows if algorithm == "dsgd" else outcome.rows.reshape(last.shape))


@both_algorithms
@on_ranks(2)
def test_another_run_starts_from_the_newest_model(algorithm, comm, tmp_path):
    from mpidl.experiment.compose import compose
    from mpidl.experiment.rank import train

    path = comm.bcast(tmp_path) / "first.h5"
    train(configuration(algorithm, checkpoint={"snapshots": 0.5}), comm, path)
    comm.Barrier()
    last = kept(path)["consensus" if algorithm == "dsgd" else "server"][-1]
    model = {"name": "mlp", "hidden": [6], "activation": "tanh", "init": str(path)}
    composed = compose(configuration(algorithm, model=model), comm)
    method = composed.training.algorithm
    starts = method.X if algorithm == "dsgd" else method.x[None]
    assert all(np.array_equal(start.numpy(), last) for start in starts)
    composed.close()

    train(configuration(algorithm, model=NORMED), comm, path.with_name("normed.h5"))
    comm.Barrier()
    normed = {"name": NORMED, "init": str(path.with_name("normed.h5"))}
    composed = compose(configuration(algorithm, model=normed), comm)
    kept_statistics = results.open(path.with_name("normed.h5")).state_dict()["1.running_mean"]
    assert torch.equal(composed.rows.module[1].running_mean, kept_statistics) and kept_statistics.any()
    composed.close()

    with pytest.raises(
        ConfigError, match=r"model.init: '1.weight' has the shape \(6, \d\) in .* and \(7, \d\) in the model"
    ):
        compose(configuration(algorithm, model=model | {"hidden": [7]}), comm)


@pytest.mark.parametrize("policy", ["average", "reestimate"])
@both_algorithms
@on_ranks(2)
def test_what_is_kept_is_measured_again_as_it_was_recorded(algorithm, policy, comm, tmp_path):
    from mpidl.experiment.measuring import measure
    from mpidl.experiment.rank import train

    shared = "consensus" if algorithm == "dsgd" else "server"
    best = f"test_loss_{shared}"
    keys = {
        "evaluate": {"buffers": policy, "every": 2},
        "checkpoint": {"best": best},
        "data": {"validation": 0.2, "batch": "full"},
    }
    path = comm.bcast(tmp_path) / "run.h5"
    train(configuration(algorithm, model=NORMED, **keys), comm, path)
    comm.Barrier()
    run = results.open(path)
    found = [(kept.group, kept.round, set(kept.models)) for kept in run.kept]
    own = {"local"} if algorithm == "dsgd" else set()
    assert found == [("snapshots", 8, {shared} | own), ("best", run.best(best).round, {shared})]
    for model, round in ((shared, 8), (shared, "best"), *([(3, None)] if own else [])):
        measured = measure(run, model, round, plug_ins=True)
        assert {each.metric.partition("_")[0] for each in measured} == {"test", "validation"}
        assert all(each.value == each.recorded for each in measured)
    assert run.build(plug_ins=True)[1].num_batches_tracked > 0
    for refused in (run.build, lambda: measure(run)):
        with pytest.raises(ResultsError, match="'tests.training.plugins:\\w+', code that does not come with mpidl"):
            refused()


@on_ranks(2)
def test_the_best_is_kept_on_any_number_of_ranks_and_of_agents_own_too(comm, tmp_path):
    from mpidl.experiment.rank import train

    config = configuration(checkpoint={"best": "test_loss_local", "final": False}, evaluate={"every": 1})
    on_parts(comm, (1, 2), lambda part: train(config, part, tmp_path / f"{part.size}.h5"))
    comm.Barrier()
    alone, spread = (results.open(tmp_path / f"{size}.h5") for size in (1, 2))
    assert [(kept.round, kept.models) for kept in alone.kept] == [
        (alone.best("test_loss_local").round, {"consensus": None, "local": 5})
    ]
    for model in ("consensus", *range(5)):
        one, other = alone.state_dict(model), spread.state_dict(model)
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_after_a_resume_only_what_is_better_than_what_is_kept_takes_its_place(tmp_path, monkeypatch) -> None:
    file = RunFile.create(tmp_path / "run.h5", {"name": "kept"}, {"hosts": ["here"]}, None, 2)
    file.append({"round": 3, "test_loss_consensus": 0.5})
    file.keep(BEST, FORM, models(3), 2)
    world, kept = SimpleNamespace(sum=lambda values: values), []
    best = BestModels(file, SimpleNamespace(form=FORM), {"consensus": None}, Meters(), "test_loss_consensus")
    monkeypatch.setattr(best, "keep", lambda done, places: kept.append(done))
    for done, loss in ((4, 0.6), (5, 0.4), (6, np.nan), (7, 0.45)):
        best.recorded(SimpleNamespace(world=world, done=done), {"test_loss_consensus": loss})
    # Where agents' own were not measured.
    best.recorded(SimpleNamespace(world=world, done=8), {"train_loss": 0.1})
    assert kept == [5]
    file.close()


def test_small_models_of_agents_are_kept_by_default_and_large_ones_if_asked() -> None:
    few, many = 5, keeping.OWN_BYTES // NETWORK.nbytes + 1
    for final, snapshots, agents, own in (
        *((True, None, few, True), (True, None, many, False), ("all", None, many, True)),
        *((True, 4, many, True), (False, 4, many, True)),
    ):
        config = configuration(checkpoint={"final": final, "snapshots": snapshots})
        kept = keeping.kept_models(config, agents, NETWORK)
        assert kept == {"consensus": None} | ({"local": agents} if own else {})
    assert keeping.kept_models(configuration(checkpoint={"final": False}), few, NETWORK) == {}
    evaluated = configuration(evaluate={"models": ["consensus"]})
    assert keeping.kept_models(evaluated, few, NETWORK) == {"consensus": None, "local": few}


@pytest.mark.parametrize(
    ("best", "words"),
    [
        ("test_acuracy_consensus", "did you mean 'test_accuracy_consensus'?"),
        ("validation_loss_consensus", "did you mean 'test_loss_consensus'?"),
        ("test_loss_server", "is not known"),
    ],
)
def test_a_metric_that_is_not_measured_is_answered_with_those_that_are(best: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"checkpoint.best: .*{re.escape(words)}"):
        configuration(checkpoint={"best": best})


@on_ranks(1)
def test_a_run_that_was_ended_after_its_last_round_keeps_its_models_when_it_goes_on(comm, tmp_path):
    from mpidl.experiment.compose import compose
    from mpidl.experiment.rank import create_run_file

    composed = compose(configuration(), comm)
    run_file = create_run_file(composed, tmp_path / "run.h5", False)
    composed.training.done = composed.training.rounds
    composed.training.hooks[:] = keeping.keepers(composed, run_file)
    composed.training.run()
    assert [kept.round for kept in results.open(run_file.path).kept] == [8]
    composed.training.run()
    assert len(results.open(run_file.path).kept) == 1
    run_file.close()
    composed.close()


@on_ranks(1)
def test_a_run_that_kept_no_model_is_no_start(comm, tmp_path):
    from mpidl.experiment.compose import compose
    from mpidl.experiment.rank import train

    train(configuration(checkpoint={"final": False}), comm, tmp_path / "first.h5")
    model = {"name": "mlp", "hidden": [6], "init": str(tmp_path / "first.h5")}
    with pytest.raises(ConfigError, match=r"model.init: '.*first.h5' keeps no model; let that run keep some"):
        compose(configuration(model=model), comm)


@on_ranks(2)
def test_models_that_cannot_be_kept_end_no_training(comm, tmp_path):
    from mpidl.experiment.rank import train
    from mpidl.results import snapshots

    real = snapshots.write

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    snapshots.write = full
    path = comm.bcast(tmp_path) / "run.h5"
    try:
        with pytest.raises(SaveError, match="No space left on device"):
            train(configuration(checkpoint={"snapshots": 4}), comm, path)
    finally:
        snapshots.write = real
    comm.Barrier()
    with h5py.File(path) as file:
        assert file.attrs["status"] == b"finished" and file["metrics/round"][file["metrics"].attrs["records"] - 1] == 8
