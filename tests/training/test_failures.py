"""What goes wrong in a run: parts that raise are named, a wrong one leaves no file, a full disk ends no training."""

from __future__ import annotations

from typing import Any

import pytest

from mpidl.errors import ConfigError
from tests.algorithms.problems import run
from tests.ranks import on_ranks
from tests.training.runs import configuration, same

PLUG_INS = "tests.training.plugins:"


@pytest.mark.parametrize("batched", [False, True], ids=["", "batched"])
@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"model": PLUG_INS + "misshapen"}, "model: 'tests.training.plugins:misshapen' failed: IndexError: too deep"),
        ({"loss": PLUG_INS + "failing"}, "loss: 'tests.training.plugins:failing' failed: KeyError: 'no such target'"),
        ({"loss": PLUG_INS + "ending"}, "loss: 'tests.training.plugins:ending' failed: Diverged: too large"),
        ({"model": PLUG_INS + "lazy"}, "model: its '0.weight' gets a shape at the first call only"),
    ],
    ids=["model", "loss", "ending", "lazy"],
)
@on_ranks(2)
def test_a_part_that_raises_is_named_and_leaves_no_file(batched, sections, sentence, comm, tmp_path):
    from mpidl.experiment.rank import train

    with pytest.raises(ConfigError) as caught:
        train(configuration(**sections, train={"batched": batched}), comm, tmp_path / "run.h5")
    assert str(caught.value).startswith(sentence)
    comm.Barrier()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("batched", [False, True], ids=["", "batched"])
@on_ranks(2)
def test_a_batch_of_one_that_a_network_cannot_train_on_is_found_before_there_is_a_file(batched, comm, tmp_path):
    from mpidl.experiment.rank import train

    # Agent 1 has eight examples.
    config = configuration(model=PLUG_INS + "normed", data={"batch": 7}, train={"batched": batched})
    if comm.rank == 0:
        with pytest.raises(ConfigError, match=r"data.batch: an agent's last batch holds a single example"):
            train(config, comm.Split(comm.rank), tmp_path / "run.h5")
    else:
        comm.Split(comm.rank)
    comm.Barrier()
    assert not list(tmp_path.iterdir())


@on_ranks(1)
def test_a_batch_of_one_that_is_never_met_stops_nothing(comm):
    sections = {"model": PLUG_INS + "normed", "data": {"batch": 7}}
    # Agent 1 meets its eighth example in the second round.
    once, twice = (configuration(**sections, train={"rounds": rounds}, evaluate={"every": 1}) for rounds in (1, 2))
    assert len(run(once, comm, before=lambda composed: composed.training.check()).records) == 2
    with pytest.raises(ConfigError, match="a single example"):
        run(twice, comm, before=lambda composed: composed.training.check())


@on_ranks(1)
def test_an_operation_without_a_deterministic_kernel_is_told_with_the_way_out(comm):
    sections = {"model": PLUG_INS + "scattering"}
    with pytest.raises(ConfigError) as caught:
        run(configuration(**sections), comm)
    assert str(caught.value) == (
        "train.deterministic: true, but 'tests.training.plugins:scattering' (model) uses put_, "
        "which torch cannot compute deterministically here; say false, or use another"
    )
    run(configuration(**sections, train={"deterministic": False}), comm)


@on_ranks(1)
def test_an_evaluation_that_fails_is_found_before_there_is_a_file(comm, tmp_path):
    from mpidl.experiment.rank import train

    with pytest.raises(ConfigError, match="model: 'tests.training.plugins:training_only' failed: RuntimeError: only"):
        train(configuration(model=PLUG_INS + "training_only"), comm, tmp_path / "run.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("algorithm", "sentence"),
    [
        ("Raising", "algorithm: 'tests.training.plugins:Raising' failed: IndexError: no such agent"),
        ("Ending", "algorithm: 'tests.training.plugins:Ending' failed: Stopped: enough"),
        ("Forgetful", "algorithm: 'tests.training.plugins:Forgetful' returns NoneType from round(); return the block"),
    ],
)
@on_ranks(2)
def test_an_algorithm_that_raises_is_named_and_its_run_has_failed(algorithm, sentence, comm, tmp_path):
    from mpidl.experiment.rank import train
    from mpidl.results import reader

    with pytest.raises(ConfigError) as caught:
        train(configuration(PLUG_INS + algorithm), comm, tmp_path / "run.h5")
    assert str(caught.value).startswith(sentence)
    comm.Barrier()
    assert reader.open(tmp_path / "run.h5").status == "failed"


@on_ranks(1)
def test_a_first_evaluation_that_fails_marks_the_run_as_failed(comm, tmp_path):
    from mpidl.experiment.compose import compose
    from mpidl.experiment.rank import create_run_file
    from mpidl.results import reader
    from mpidl.training.record import FileWriter

    composed = compose(configuration(model=PLUG_INS + "training_only"), comm)
    writer = FileWriter(create_run_file(composed, tmp_path / "run.h5", False), composed.meters)
    composed.training.hooks.append(writer)
    with pytest.raises(ConfigError, match="failed: RuntimeError"):
        composed.training.run()
    composed.close()
    assert reader.open(tmp_path / "run.h5").status == "failed"


@pytest.mark.parametrize("batched", [False, True], ids=["", "batched"])
@on_ranks(1)
def test_checks_before_the_run_leave_no_trace(batched, comm):
    config = configuration(model=PLUG_INS + "normed", train={"batched": batched})
    assert same(run(config, comm), run(config, comm, before=lambda composed: composed.training.check()))


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@on_ranks(2)
def test_what_cannot_be_saved_is_tried_again_and_told_when_training_is_over(for_good, comm, tmp_path):
    from mpidl.errors import SaveError
    from mpidl.experiment.rank import train
    from mpidl.results import reader
    from mpidl.results.run_file import RunFile

    edit, tried = RunFile._edit, []

    def fail(run_file: Any, columns: Any) -> None:
        tried.append(1)
        if for_good or len(tried) == 1:
            raise OSError(28, "No space left on device")
        edit(run_file, columns)

    RunFile._edit = fail
    try:
        if for_good:
            with pytest.raises(SaveError, match="No space left on device"):
                train(configuration(), comm, tmp_path / "run.h5")
        else:
            train(configuration(evaluate={"every": 1}), comm, tmp_path / "run.h5")
    finally:
        RunFile._edit = edit
    comm.Barrier()
    left = reader.open(tmp_path / "run.h5")
    # How it ended is written on its own, for which there may be room again.
    assert (left.status, left.records) == ("finished", 0 if for_good else 9)


@on_ranks(1)
def test_the_learning_rate_before_the_first_round_is_the_schedules(comm):
    schedule = {"name": "constant", "warmup": 4, "warmup_from": 0.5}
    records = run(configuration(schedule=schedule, evaluate={"every": 1}), comm).records
    assert [record["lr"] for record in records[:3]] == pytest.approx([0.1, 0.1, 0.125])
