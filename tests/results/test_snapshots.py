"""Models in a run file: all of them, in their order, with what it takes to use them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mpidl import results
from mpidl.errors import ResultsError, SaveError
from mpidl.results import run_file as writing
from mpidl.results import snapshots
from mpidl.results.run_file import RunFile

PARAMETERS = {"weight": (2, 3), "bias": (2,)}


def models(round: int) -> dict[str, np.ndarray]:
    consensus = np.arange(8, dtype=np.float32) + round
    return {"consensus": consensus, "local": np.stack([consensus, consensus + 0.5])}


def filled(path: Path, rounds: tuple[int, ...], room: int = 4) -> Path:
    run = RunFile.create(path, {"name": "kept"}, {"hosts": ["here"]}, None, 2)
    for round in rounds:
        run.append({"round": round, "loss": round / 2})
        run.snapshot(round, models(round), PARAMETERS, room)
    run.finish()
    return path


def test_models_are_kept_in_order_and_the_newest_is_found_by_names(tmp_path: Path) -> None:
    path = filled(tmp_path / "run.h5", (2, 4, 5))
    with h5py.File(path) as file:
        group = file["snapshots"]
        assert group.attrs["records"] == 3 and group["round"][:3].tolist() == [2, 4, 5]
        assert group["consensus"].dtype == np.float32 and group["local"].shape == (4, 2, 8)
        for record, round in enumerate((2, 4, 5)):
            for name, value in models(round).items():
                assert np.array_equal(group[name][record], value)
    run = results.open(path)
    assert sorted(run.snapshots) == ["consensus", "local", "round"] and run.snapshots["round"].tolist() == [2, 4, 5]
    assert np.array_equal(run.snapshots["local"][1], models(4)["local"])
    parameters = snapshots.latest(path)
    assert np.array_equal(parameters["weight"], np.arange(6).reshape(2, 3) + 5) and parameters["bias"].tolist() == [
        11,
        12,
    ]


def test_a_snapshot_changes_numbers_in_place(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    run = RunFile.create(path, {"name": "kept"}, {"hosts": ["here"]}, None, 2)
    run.snapshot(1, models(1), PARAMETERS, 3)
    before = path.stat()
    for round in (2, 3):
        run.snapshot(round, models(round), PARAMETERS, 3)
    after = path.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    run.close()


def test_going_on_from_an_earlier_round_forgets_later_models(tmp_path: Path) -> None:
    path = filled(tmp_path / "run.h5", (2, 4, 6))
    run = RunFile.open(path, until_round=4)
    assert snapshots.latest(path)["bias"].tolist() == [10, 11]
    run.snapshot(5, models(5), PARAMETERS, 4)
    run.close()
    with h5py.File(path) as file:
        assert file["snapshots/round"][: file["snapshots"].attrs["records"]].tolist() == [2, 4, 5]


def test_a_snapshot_that_cannot_be_written_is_said_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path / "run.h5", (2,))
    run = RunFile.open(path)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing.snapshots, "write", full)
        with pytest.raises(SaveError, match="No space left"):
            run.snapshot(3, models(3), PARAMETERS, 4)
    run.snapshot(4, models(4), PARAMETERS, 4)
    run.finish()
    assert snapshots.latest(path)["bias"].tolist() == [10, 11]


def test_a_file_without_a_model_to_start_from_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="keeps no model; let that run keep some, with checkpoint.snapshots"):
        snapshots.latest(filled(tmp_path / "none.h5", ()))
    run = RunFile.create(tmp_path / "local.h5", {"name": "kept"}, {"hosts": ["here"]}, None, 2)
    run.snapshot(1, {"local": models(1)["local"]}, PARAMETERS, 1)
    run.close()
    with pytest.raises(ResultsError, match="keeps agents' own models only"):
        snapshots.latest(tmp_path / "local.h5")
    short = filled(tmp_path / "short.h5", (1,))
    with h5py.File(short, "r+") as file:
        file["snapshots"].attrs["shapes"] = "[[2, 3], [3]]"
    with pytest.raises(ResultsError, match="is damaged"):
        snapshots.latest(short)
    (tmp_path / "torn.h5").write_bytes(short.read_bytes()[:3000])
    with pytest.raises(ResultsError, match="cannot be read"):
        snapshots.latest(tmp_path / "torn.h5")
