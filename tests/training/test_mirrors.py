"""Mirrors of a run's records: what they get, at which rounds, and that none of them can end a run."""

from __future__ import annotations

import logging
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mpidl.errors import ConfigError
from mpidl.training import mirrors
from mpidl.training.mirroring import Mirroring, scalars
from mpidl.training.mirrors import MIRRORS, Mirror, Mirrored, TensorBoard, WeightsAndBiases
from tests.algorithms.resuming import shared_folder
from tests.ranks import on_ranks
from tests.training import resumed
from tests.training.runs import configuration

TRAINING: Any = SimpleNamespace(world=SimpleNamespace(everyone=(0, 1, 2)))
RECORD = {"round": 4, "lr": 0.5, "test_accuracy_agent": np.array([0.25, 1.0, 0.25])}


class Kept(Mirror):
    """Stands for any mirror; what it gets is kept in `calls`, and it fails where it is told to."""

    package = "json"
    calls: list[tuple[Any, ...]] = []
    failing = ""

    def __init__(self, run: Mirrored) -> None:
        self._call("open", run.after)

    def _call(self, *call: Any) -> None:
        self.calls.append(call)
        if call[0] == self.failing:
            raise OSError("the server is away")

    def write(self, numbers: Any, round: int) -> None:
        self._call("write", round, numbers)

    def flush(self) -> None:
        self._call("flush")

    def close(self, status: str) -> None:
        self._call("close", status)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> type[Kept]:
    monkeypatch.setattr(mirrors, "MIRRORS", {"kept": Kept})
    monkeypatch.setattr(Kept, "calls", [])
    return Kept


def run(tmp_path: Path, after: int | None = None) -> Mirrored:
    return Mirrored(tmp_path / "first.h5", {"seed": 1}, "this run", after)


def test_records_are_copied_once_they_are_in_the_run_file(kept: type[Kept], tmp_path: Path) -> None:
    mirror = Mirroring("kept", run(tmp_path, 3))
    mirror.recorded(TRAINING, RECORD)
    assert kept.calls == [("open", 3)]
    mirror.flushed(TRAINING)
    mirror.flushed(TRAINING)
    numbers = {f"test_accuracy_agent/{which}": value for which, value in (("min", 0.25), ("mean", 0.5), ("max", 1.0))}
    assert kept.calls[1:] == [("write", 4, {"lr": 0.5} | numbers), ("flush",)]
    mirror.recorded(TRAINING, {"round": 5, "lr": 0.25})
    # Ranks have died, and what was measured last is measured again.
    mirror.finish(TRAINING, "running")
    assert kept.calls[3:] == [("close", "running")]
    mirror.finish(TRAINING, "finished")
    assert kept.calls[4:] == [("write", 5, {"lr": 0.25}), ("flush",), ("close", "finished")]


@pytest.mark.parametrize("failing", ["open", "write", "flush", "close"])
def test_a_mirror_that_fails_is_given_up_with_one_warning(
    failing: str, kept: type[Kept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kept, "failing", failing)
    with caplog.at_level(logging.WARNING, "mpidl"):
        mirror = Mirroring("kept", run(tmp_path))
        for _ in range(3):
            mirror.recorded(TRAINING, RECORD)
            mirror.flushed(TRAINING)
        mirror.finish(TRAINING, "finished")
    (warned,) = caplog.messages
    assert warned == "the mirror 'kept' is given up, and the run goes on without: OSError: the server is away"
    assert sum(call[0] == failing for call in kept.calls) == 1
    if failing != "close":
        assert kept.calls[-1][0] == failing


@on_ranks(2)
def test_a_run_that_is_resumed_goes_on_in_its_mirror_on_rank_0_alone(comm):
    Kept.calls = []
    with shared_folder(comm) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setitem(mirrors.MIRRORS, "tensorboard", Kept)  # type: ignore[arg-type]
        for rounds in (4, 8):
            train = {"rounds": rounds, "log": "tensorboard"}
            config = configuration(checkpoint={"every": 2}, train=train, evaluate={"every": 2})
            resumed.train(config, comm, folder / "run.h5", resume=rounds == 8)
    calls = [call[:2] for call in Kept.calls if call[0] != "flush"]
    first = [("open", None), ("write", 0), ("write", 2), ("write", 4), ("close", "finished")]
    again = [("open", 4), ("write", 6), ("write", 8), ("close", "finished")]
    assert calls == ([*first, *again] if comm.rank == 0 else [])
    assert all("train_loss" in call[2] for call in Kept.calls if call[0] == "write")


def test_what_is_not_a_number_is_copied_as_that() -> None:
    assert math.isnan(scalars({"round": 1, "train_loss": math.nan})["train_loss"])
    assert math.isnan(scalars({"round": 1, "loss": np.array([1.0, math.nan])})["loss/max"])


def test_a_mirror_without_its_package_is_refused_with_the_command_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=r"^train.log: 'wandb' needs .* pip install 'mpidl\[wandb\]'$"):
        mirrors.check(["wandb"])
    mirrors.check([])


def test_every_mirror_is_an_extra_of_the_package() -> None:
    setup = (Path(__file__).parents[2] / "setup.py").read_text(encoding="utf-8")
    assert all(f'"{name}": ["{mirror.package}>=' in setup for name, mirror in MIRRORS.items())


def test_names_are_checked_with_the_configuration() -> None:
    from mpidl import config as reading
    from mpidl.experiment.schema import TrainSettings

    assert reading.validate(TrainSettings, {"rounds": 1, "log": "wandb"}).log == ("wandb",)
    twice = {"rounds": 1, "log": ["tensorboard", "wandb", "tensorboard"]}
    assert reading.validate(TrainSettings, twice).log == ("tensorboard", "wandb")
    with pytest.raises(ConfigError, match="log: 'tensorbord' is not known; did you mean 'tensorboard'?"):
        reading.validate(TrainSettings, {"rounds": 1, "log": ["tensorbord"]})


def test_an_unfinished_run_keeps_its_identity_at_weights_and_biases_and_rounds_are_its_axis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, Any]] = []

    class Run:
        """Stands for what `wandb.init` returns."""

        def __getattr__(self, name: str) -> Any:
            return lambda *words, **keys: calls.append((name, words or keys))

    module = ModuleType("wandb")
    module.Settings = dict  # type: ignore[attr-defined]
    module.init = lambda **keys: calls.append(("init", keys)) or Run()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv("WANDB_PROJECT", "ours")
    for after in (None, 3):
        mirror = WeightsAndBiases(run(tmp_path, after))
        mirror.write({"lr": 0.5}, 4)
        mirror.close("interrupted")
    assert [name for name, _ in calls] == 2 * ["init", "define_metric", "define_metric", "log", "finish"]
    (_, first), (_, again) = calls[0], calls[5]
    assert first["id"] == again["id"] and first["resume"] == "allow"
    assert (first["project"], first["name"], first["dir"]) == ("ours", "first", str(tmp_path))
    assert calls[3] == ("log", ({"lr": 0.5, "round": 4},)) and calls[4] == ("finish", {"exit_code": 1})


def test_tensorboard_shows_rounds_that_are_done_again_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def write(after: int | None, numbers: dict[int, float]) -> None:
        mirror = TensorBoard(run(tmp_path, after))
        for round, number in numbers.items():
            mirror.write({"lr": number}, round)
        mirror.flush()
        mirror.close("finished")

    def shown() -> dict[int, float]:
        events = EventAccumulator(str(tmp_path / "first.tb"))
        events.Reload()
        return {event.step: event.value for event in events.Scalars("lr")}

    write(None, {0: 9.0, 7: 9.0})
    write(None, {0: 1.0, 2: 2.0, 4: 3.0})
    assert shown() == {0: 1.0, 2: 2.0, 4: 3.0}
    write(2, {4: 5.0, 6: 6.0})
    assert shown() == {0: 1.0, 2: 2.0, 4: 5.0, 6: 6.0}


def test_weights_and_biases_keeps_an_offline_run_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for after in (None, 3):
        mirror = WeightsAndBiases(run(tmp_path, after))
        mirror.write({"lr": 0.5}, 4)
        mirror.close("finished")
    assert len(list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))) == 2
