"""Ranks agree before they train: what differs is named on all of them, and nobody hangs or trains something else."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mpidl import config as reading
from mpidl.errors import CommunicationError
from mpidl.experiment import Config
from tests.ranks import on_ranks
from tests.training import plugins
from tests.training.runs import configuration, on_nodes

HOST = socket.gethostname()
DSGD = {"name": "dsgd", "lr": 0.2}

CONFIGURATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "learning rate": ({"algorithm": DSGD | {"lr": 5.0}}, "algorithm.lr is 0.2 on the one and 5.0 on the other; start"),
    "seed": ({"seed": 6}, "seed is 5 on the one and 6 on the other; start"),
    "rounds": ({"train": {"rounds": 9}}, "train.rounds is 8 on the one and 9 on"),
    "cadence": ({"evaluate": {"every": 3}}, 'evaluate.every is "4 rounds" on the one and "3 rounds" on'),
    "snapshots": ({"checkpoint": {"snapshots": 2}}, 'checkpoint.snapshots is null on the one and "2 rounds" on'),
    "agents": ({"agents": 6}, "agents is 5 on the one and 6 on the other, data.agents"),
    "one agent": ({"agents": 1}, "agents is 5 on the one and 1 on the other"),
    "graph": ({"graph": "complete"}, 'graph.name is "ring" on the one and "complete" on the other'),
    "batch": ({"data": {"batch": "full"}}, 'data.batch is 4 on the one and "full" on the other'),
    "precision": ({"train": {"precision": "float32"}}, 'train.precision is "float64" on the one and "float32" on'),
    "order": ({"algorithm": DSGD | {"order": "adapt-while-communicate"}}, "algorithm.order is"),
    "width": ({"model": {"name": "mlp", "hidden": [6, 7], "activation": "tanh"}}, "model.hidden.1 is absent on the"),
    "transport": ({"gossip": {"transport": "shared"}}, 'gossip.transport is "messages" on the one and "shared" on'),
}


def composed(config: Any, comm: Any) -> str:
    """The error with which ranks stop before they train, which is the same on all of them."""
    from mpidl.experiment.compose import compose

    with pytest.raises(CommunicationError) as caught:
        compose(config, comm)
    assert len(set(comm.allgather(str(caught.value)))) == 1
    return str(caught.value)


@contextlib.contextmanager
def changed(change: dict[str, Any]) -> Iterator[None]:
    """Meanwhile, plug-ins of this process are changed."""
    plugins.changed.update(change)
    try:
        yield
    finally:
        plugins.changed.clear()


@contextlib.contextmanager
def here(path: Path) -> Iterator[None]:
    """Meanwhile, $HERE in a configuration is this path: one configuration, and another file on each host."""
    os.environ["HERE"] = str(path)
    try:
        yield
    finally:
        del os.environ["HERE"]


@pytest.mark.parametrize("what", sorted(CONFIGURATIONS))
@on_ranks(3)
def test_another_configuration_on_one_rank_is_named_by_its_key(comm, what):
    sections, sentence = CONFIGURATIONS[what]
    sentence = f"rank 0 on {HOST} and rank 2 on {HOST} disagree: {sentence}"
    assert composed(configuration(**(sections if comm.rank == 2 else {})), comm).startswith(sentence)


@on_ranks(2)
def test_a_decentralized_and_a_centralized_method_do_not_meet(comm):
    text = composed(configuration("csgd" if comm.rank else "dsgd"), comm)
    assert 'algorithm.name is "dsgd" on the one and "csgd" on the other' in text


@pytest.mark.parametrize("package", ["mpidl", "torch", "numpy"])
@on_ranks(2)
def test_another_version_on_one_host_is_named(comm, package):
    module = import_module(package)
    version = module.__version__
    if comm.rank:
        module.__version__ = "0.0.7"
    try:
        text = composed(configuration(seed=comm.rank), comm)
    finally:
        module.__version__ = version
    assert f"{package} is {version} on the one and 0.0.7 on the other; install" in text


@on_ranks(2)
def test_a_plug_in_of_another_text_on_one_host_is_named(comm, tmp_path):
    """An algorithm and a loss: no data, no initial row, and no header of a message knows them."""
    name, own = "tests.training.plugins", plugins.__file__
    other = tmp_path / "plugins.py"
    if comm.rank:
        other.write_text(Path(own).read_text() + "# as of yesterday")
        plugins.__file__ = str(other)
    try:
        text = composed(configuration(f"{name}:Functional", loss=f"{name}:cross_entropy"), comm)
    finally:
        plugins.__file__ = own
    assert f"the digest of {name}:Functional is " in text and f"the digest of {name}:cross_entropy is" in text


DATA: dict[str, tuple[dict[str, Any], str]] = {
    "one feature": ({"x": 1.0}, "the digest of x is [0-9a-f]{16} on"),
    "one label": ({"y": 3}, "the digest of y is [0-9a-f]{16} on"),
    "one test example": ({"x_test": 1.0}, "the digest of x_test is"),
    "one example": (
        dict.fromkeys(("x", "y", "owner"), "shorter"),
        r"the shape of x is \[50, 5\] on the one and \[49, 5\] on",
    ),
    "tests": ({"x_test": "shorter", "y_test": "shorter"}, r"the shape of x_test is \[40, 5\] on the one and \[39, 5\]"),
    "type": ({"x": "float32"}, "the type of x is float64 on the one and float32 on"),
    "scale": ({"scale": 0.5}, "the scale is 1.0 on the one and 0.5 on"),
    "mean": ({"mean": (1.0,)}, r"the mean is None on the one and \(1.0,\) on"),
    "classes": ({"classes": 9}, "the number of outputs is 4 on the one and 9 on"),
    "owner": ({"owner": 0}, "the share of agent 0 is 6 examples .* and 7 examples .*, the share of agent 4 is"),
}


@pytest.mark.parametrize("what", sorted(DATA))
@on_ranks(2)
def test_other_data_on_one_host_are_named(comm, what):
    change, difference = DATA[what]
    if what == "one label":
        # Whatever the last label is, not that.
        change = {"y": (int(plugins.even().y[-1]) + 1) % plugins.CLASSES}
    config = configuration(problem="varying")
    with changed(change if comm.rank else {}), on_nodes((0,), (1,)):
        text = composed(config, comm)
    assert re.search(f"rank 0 on {HOST} and rank 1 on {HOST} disagree: {difference}", text), text


@pytest.mark.parametrize("place", ["replicate", "own"])
@on_ranks(2)
def test_rows_that_stay_in_files_are_compared_by_a_sample(comm, tmp_path, place):
    import h5py

    folder = tmp_path / str(comm.rank)
    folder.mkdir()
    with h5py.File(folder / "data.h5", "w") as file:
        for name, value in {"x": np.zeros((9000, 3), np.float32), "y": np.arange(9000) % 2}.items():
            if name == "x":
                value[-1, -1] = comm.rank
            file.create_dataset(name, data=value, chunks=(100, *value.shape[1:]), compression="gzip")
            file.create_dataset(f"{name}_test", data=value[:10])
    settings = {"name": "hdf5", "root": "$HERE", "file": "data.h5", "split": "iid", "place": place}
    config = reading.validate(Config, configuration(model="logistic").model_dump(mode="json") | {"data": settings})
    with here(folder), on_nodes((0,), (1,)):
        assert "disagree: the digest of x is" in composed(config, comm)


TENSORS = {"0.weight": "float64 [6, 5]", "1.running_var": "float64 [6]", "2.bias": "float64 [4]"}


@pytest.mark.parametrize("name", sorted(TENSORS))
@on_ranks(2)
def test_another_start_on_one_host_is_named_by_its_tensor(comm, name):
    config = configuration(model="tests.training.plugins:drifting")
    with changed({name: 0.5} if comm.rank else {}):
        text = composed(config, comm)
    assert f"disagree: the initial {name} is {TENSORS[name]} with digest " in text


@on_ranks(2)
def test_a_start_from_another_file_is_named(comm, tmp_path):
    from mpidl.experiment.compose import compose

    run = compose(configuration(), comm)
    weights = {name: value.clone() for name, value in run.rows.module.state_dict().items()}
    run.close()
    next(iter(weights.values())).view(-1)[0] += comm.rank
    torch.save(weights, tmp_path / f"{comm.rank}.pt")
    model = {"name": "mlp", "hidden": [6], "activation": "tanh", "init": "$HERE.pt"}
    with here(tmp_path / str(comm.rank)):
        assert "disagree: the initial " in composed(configuration(model=model), comm)


@on_ranks(2)
def test_another_run_file_on_one_rank_is_named_and_none_is_made(comm, tmp_path):
    from mpidl.experiment.rank import train

    with pytest.raises(CommunicationError, match=r"the run file is .*/0.h5 on the one and .*/1.h5 on the other; name"):
        train(configuration(), comm, Path(tmp_path) / f"{comm.rank}.h5")
    comm.Barrier()
    assert not list(tmp_path.iterdir())


@on_ranks(2)
@pytest.mark.parametrize("option", ["--overwrite", "--resume", "--allow-changes"])
def test_ranks_that_were_told_to_begin_differently_do_not_begin(comm, tmp_path, option):
    from mpidl.experiment.rank import Beginning, train

    told = {
        "--overwrite": Beginning(overwrite=True),
        "--resume": Beginning(resume=True),
        "--allow-changes": Beginning(allowed=("seed",)),
    }
    beginning = told[option] if comm.rank else Beginning()
    with pytest.raises(CommunicationError, match=f"disagree: {option} is not said on the one and s.* on the other;"):
        train(configuration(), comm, Path(tmp_path) / "r.h5", beginning)
    comm.Barrier()
    assert not list(tmp_path.iterdir())
