"""Of a run that is resumed, all that its numbers depend on is as it was, or was changed on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from mpidl.errors import ConfigError
from mpidl.results.checkpoints.folder import CheckpointFolder
from tests.algorithms.resuming import shared_folder
from tests.ranks import on_ranks
from tests.training.resumed import EVERY, assert_alike, ended_after, told, train
from tests.training.runs import configuration


@on_ranks(2)
def test_a_changed_configuration_is_refused_unless_it_is_meant_or_longer(comm):
    def changed(rounds: int = 8, lr: float = 0.2, **sections: Any) -> Any:
        sections = {"checkpoint": {"every": 3, "final": False}, "evaluate": {"every": 4}} | sections
        return configuration({"name": "dsgd", "lr": lr}, train={"rounds": rounds}, **sections)

    with shared_folder(comm) as folder:
        path, whole = folder / "run.h5", folder / "whole.h5"
        train(changed(12), comm, whole)
        train(changed(8), comm, path)
        with pytest.raises(ConfigError, match=r"algorithm.lr was 0.2 and is 0.1; .*--allow-changes algorithm.lr"):
            train(changed(12, 0.1), comm, path, resume=True)
        with pytest.raises(ConfigError, match="train.rounds was 8 and is 7"):
            train(changed(7), comm, path, resume=True)
        with pytest.raises(ConfigError, match="agents: there are 4 here, and were 5"):
            train(changed(12, agents=4, data={"agents": 4}), comm, path, resume=True)
        with pytest.raises(ConfigError, match="--allow-changes: 'algorithm.rl' is not known; did you mean"):
            train(changed(12, 0.1), comm, path, resume=True, allowed=("algorithm.rl",))
        assert told(path) == []
        # Longer, and what changes no number.
        train(changed(12, checkpoint={"every": 2, "keep": 1, "final": False}), comm, path, resume=True)
        assert_alike(path, whole)
        train(changed(14, 0.1), comm, path, resume=True, allowed=("algorithm",))
        assert "algorithm.lr was 0.2 and is 0.1" in told(path)[-1]
        before = path.read_bytes()
        train(changed(14, 0.1), comm, path, resume=True)
        assert path.read_bytes() == before, "there is nothing left to do"
        falling = {"schedule": "cosine"}
        train(changed(8, **falling), comm, folder / "falling.h5")
        with pytest.raises(ConfigError, match=r"rates depend \(cosine\): train.rounds was 8 and is 9; .*-changes"):
            train(changed(9, **falling), comm, folder / "falling.h5", resume=True)
        train(changed(9, **falling), comm, folder / "falling.h5", resume=True, allowed=("train.rounds",))
        assert "train.rounds was 8 and is 9" in told(folder / "falling.h5")[-1]
        # Without steps all are alike, so that the first is the best.
        kept = {"checkpoint": {"every": 3, "keep": 1, "best": "test_loss_consensus"}, "evaluate": {"every": 3}}
        for rounds in (7, 10):
            train(changed(rounds, 0.0, **kept), comm, folder / "kept.h5", resume=True)
            assert CheckpointFolder(folder / "kept.h5").rounds() == [rounds, 3]


@on_ranks(2)
def test_a_plug_in_that_has_changed_since_is_told(comm):
    from mpidl import results
    from mpidl.results import provenance

    name = "the digest of tests.training.plugins:even"
    with shared_folder(comm) as folder:
        path = folder / "run.h5"
        train(configuration(**EVERY), comm, path)
        before = results.open(path).provenance["versions"][name]
        with mock.patch.object(provenance, "plug_ins", lambda config: {name: "another"}):
            train(configuration(**EVERY, train={"rounds": 9}), comm, path, resume=True)
        assert told(path, "warning") == [f"{name} was {before} when the run began, and is another: numbers may differ"]


@on_ranks(2)
def test_data_that_changed_where_they_lie_are_refused_unless_that_is_meant(comm):
    def write(folder: Path, seed: int) -> None:
        numbers = np.random.default_rng(seed)
        if comm.rank == 0:
            x = numbers.normal(size=(60, 4)).astype(np.float32)
            np.savez(folder / "data.npz", x=x, y=(x[:, 0] > 0).astype(np.int64), x_test=x[:9], y_test=np.arange(9) % 2)
        comm.Barrier()

    with shared_folder(comm) as folder:
        from mpidl import results
        from mpidl.config import validate
        from mpidl.experiment.schema import Config

        data = {"name": "npz", "file": str(folder / "data.npz"), "task": "classification", "batch": 8}
        algorithm, length = {"name": "dsgd", "lr": 0.1}, {"rounds": 12, "device": "cpu"}
        config = validate(
            Config,
            EVERY
            | {
                "agents": 3,
                "data": data,
                "model": "logistic",
                "algorithm": algorithm,
                "train": length,
                "graph": "ring",
            },
        )
        write(folder, 1)
        with ended_after(8):
            train(config, comm, folder / "run.h5")
        write(folder, 2)
        with pytest.raises(
            ConfigError, match=r"begun with other data: the digest of x was \w+ and is \w+; .*changes data"
        ):
            train(config, comm, folder / "run.h5", resume=True)
        with pytest.raises(ConfigError, match=r"with other data: .*, choose another folder with -o, or remove the"):
            train(config, comm, folder / "run.h5", resume=True, allowed=None)
        before = results.open(folder / "run.h5").provenance["data"]
        train(config, comm, folder / "run.h5", resume=True, allowed=("data",))
        assert "the digest of x was" in told(folder / "run.h5")[-1]
        now = results.open(folder / "run.h5").provenance["data"]
        assert {key for key in now if now[key] != before[key]} >= {"the digest of x", "the digest of y"}
