"""Models kept in the run file are those of the run, and another run can start from them."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest

from mpidl.errors import ConfigError, SaveError
from tests.algorithms.problems import run
from tests.ranks import on_ranks
from tests.training.runs import configuration, on_parts

both_algorithms = pytest.mark.parametrize("algorithm", ["dsgd", "csgd"])


def kept(path: Any) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        group = file["snapshots"]
        return {name: dataset[: group.attrs["records"]] for name, dataset in group.items()}


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

    with pytest.raises(
        ConfigError, match=r"model.init: '1.weight' has the shape \(6, \d\) in .* and \(7, \d\) in the model"
    ):
        compose(configuration(algorithm, model=model | {"hidden": [7]}), comm)


@on_ranks(1)
def test_a_run_that_kept_no_model_is_no_start(comm, tmp_path):
    from mpidl.experiment.compose import compose
    from mpidl.experiment.rank import train

    train(configuration(), comm, tmp_path / "first.h5")
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
