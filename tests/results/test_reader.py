"""Whatever is not a whole run file of a known schema is answered in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mpidl import results
from mpidl.errors import ResultsError
from mpidl.results.run_file import RunFile

Create = Callable[..., RunFile]


@pytest.fixture
def path(create: Create) -> Path:
    run = create()
    for round_ in range(3):
        run.append({"round": round_, "train_loss": [2.0, 0.5, 1.0][round_], "test_accuracy_server": np.nan})
    run.finish()
    return run.path


def sentence(path: Path) -> str:
    with pytest.raises(ResultsError) as caught:
        run = results.open(path)
        for columns in (run.metrics, run.timing):
            list(columns.values())
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


def test_a_path_that_is_no_file_is_named(tmp_path: Path) -> None:
    assert "not there" in sentence(tmp_path / "nothing.h5")
    assert "a folder" in sentence(tmp_path)
    assert "cannot be read: File name too long" in sentence(tmp_path / ("a" * 300))
    for here in (".", "/"):
        with pytest.raises(ResultsError, match="is a folder; give a run file"):
            results.open(here)


def test_a_file_that_is_not_hdf5_is_refused(tmp_path: Path) -> None:
    for name, content in {"empty.h5": b"", "text.h5": b"round,loss\n"}.items():
        (tmp_path / name).write_bytes(content)
        assert "not an HDF5 file" in sentence(tmp_path / name)


def test_hdf5_of_another_program_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["metrics/x"] = [1, 2]
    assert "not a run file of mpidl" in sentence(tmp_path / "other.h5")


def test_a_newer_schema_is_refused_with_the_cure(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 99
    assert sentence(path).endswith("update mpidl"), "this very version was named as the cure"
    with h5py.File(path, "r+") as file:
        file.attrs["mpidl_version"] = "9.0.0"
    assert sentence(path).endswith("update mpidl to 9.0.0")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "cannot be read" in sentence(path)


@pytest.mark.parametrize("gone", ["events", "config", "timing", "metrics"])
def test_a_file_without_one_of_its_parts_is_refused(path: Path, gone: str) -> None:
    with h5py.File(path, "r+") as file:
        del file[gone]
    assert sentence(path)


def _without_round(file: h5py.File) -> None:
    del file["metrics/round"]


def _negative(file: h5py.File) -> None:
    file["metrics"].attrs["records"] = -3


def _words_as_a_metric(file: h5py.File) -> None:
    file["metrics/words"] = ["a", "b", "c"]


def _one_number_as_hosts(file: h5py.File) -> None:
    file["provenance"].attrs["hosts"] = 7


def _numbers_as_hosts(file: h5py.File) -> None:
    file["provenance"].attrs["hosts"] = [1, 2]


def _no_time(file: h5py.File) -> None:
    file.attrs["updated"] = "yesterday"


@pytest.mark.parametrize(
    ("damage", "answer"),
    [
        (_without_round, "/metrics/round is missing"),
        (_negative, "its 'records' is -3, which counts nothing"),
        (_words_as_a_metric, "/metrics/words is no column of numbers"),
        (_one_number_as_hosts, "hosts are no list of names"),
        (_numbers_as_hosts, "hosts are no list of names"),
        (_no_time, "Invalid isoformat string"),
    ],
)
def test_what_a_reader_would_stumble_over_later_is_refused_at_once(
    path: Path, damage: Callable[[h5py.File], None], answer: str
) -> None:
    with h5py.File(path, "r+") as file:
        damage(file)
    assert answer in sentence(path)


def test_a_configuration_that_is_no_yaml_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["config"]
        file["config"] = "{a: ["
    with pytest.raises(ResultsError, match="its /config, line 1: not valid YAML"):
        _ = results.open(path).config


def test_best_and_last_skip_what_was_not_measured(path: Path) -> None:
    run = results.open(path)
    assert run.best("train_loss") == (0.5, 1)
    assert run.last("train_loss") == 1.0
    assert run.best("test_accuracy_server") is None
    assert np.isnan(run.last("test_accuracy_server"))
    assert np.isnan(run.last("never_heard_of"))


def test_the_mean_over_agents_is_over_those_measured(create: Create) -> None:
    run = create()
    run.append({"round": 0, "test_accuracy_local": np.array([0.2, np.nan, 0.4])})
    run.append({"round": 1, "test_accuracy_local": np.full(3, np.nan)})
    run.finish()
    assert np.allclose(results.open(run.path).curve("test_accuracy_local"), [0.3, np.nan], equal_nan=True)


def test_a_run_opened_before_it_was_cut_back_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Columns that are not small are read when they are asked for.
    monkeypatch.setattr(results.glance, "LOADED_AT_ONCE", 0)
    before = results.open(path)
    RunFile.open(path, until_round=0).close()
    with pytest.raises(ResultsError, match="read it again"):
        _ = before.metrics["train_loss"]


def test_a_meter_goes_on_after_a_resume_that_started_it_anew(create: Create) -> None:
    run = create()
    for number, meters in enumerate([[1, 10], [2, 20], None, [0.5, 1], [1, 4]]):
        run.append({"round": number})
        if meters:
            run.append_timing({"waiting": np.array(meters)})
    run.finish()
    assert results.open(run.path).timing_total("waiting").tolist() == [3, 24]


def test_a_missing_metric_is_a_key_error(path: Path) -> None:
    with pytest.raises(KeyError):
        _ = results.open(path).metrics["never_heard_of"]
