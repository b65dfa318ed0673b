"""Models in a run file: all of them, in their order, with what it takes to use them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mpidl import results
from mpidl.errors import ResultsError, SaveError
from mpidl.results import run_file as writing
from mpidl.results.run_file import RunFile
from mpidl.results.snapshots import BEST, SNAPSHOTS
from tests.results.kept import FORM, models, row


def created(path: Path) -> RunFile:
    return RunFile.create(path, {"name": "kept"}, {"hosts": ["here"]}, None, 2)


def filled(path: Path, rounds: tuple[int, ...], room: int = 4) -> Path:
    run = created(path)
    for round in rounds:
        run.append({"round": round, "loss": round / 2})
        run.keep(SNAPSHOTS, FORM, models(round), room)
    run.finish()
    return path


def bias(path: Path, round: int | str | None = None) -> list[float]:
    return results.open(path).state_dict("consensus", round)["bias"].tolist()


def test_models_are_kept_in_their_order_as_plain_arrays(tmp_path: Path) -> None:
    path = filled(tmp_path / "run.h5", (2, 4, 5))
    with h5py.File(path) as file:
        group = file["snapshots"]
        assert group.attrs["records"] == 3 and group["round"][:3].tolist() == [2, 4, 5]
        assert group["consensus"].dtype == np.float32 and group["local"].shape == (4, 2, 8)
        assert group["floats/local"][1].tolist() == [[4, 0], [4, 1]] and group["integers/consensus"][2].tolist() == [5]
    run = results.open(path)
    assert sorted(run.snapshots) == ["consensus", "local", "round"] and run.snapshots["round"].tolist() == [2, 4, 5]
    assert np.array_equal(run.snapshots["local"][1], np.stack([row(4, agent)["parameters"] for agent in (0, 1)]))


def test_a_state_dict_has_every_tensor_with_its_own_type_shape_and_memory(tmp_path: Path) -> None:
    run = results.open(filled(tmp_path / "run.h5", (2, 4)))
    found = run.state_dict(1, round=2)
    assert {name: (value.dtype, tuple(value.shape)) for name, value in found.items()} == {
        "weight": (torch.float32, (2, 3)),
        "bias": (torch.float32, (2,)),
        "tied": (torch.float32, (2, 3)),
        "norm.mean": (torch.float32, (2,)),
        "norm.count": (torch.int32, ()),
        "mask": (torch.bool, (3,)),
        "scale": (torch.float64, ()),
    }
    assert found["weight"].tolist() == [[2.5, 3.5, 4.5], [5.5, 6.5, 7.5]] == found["tied"].tolist()
    assert found["bias"].tolist() == [8.5, 9.5] and found["norm.mean"].tolist() == [2, 1]
    assert (int(found["norm.count"]), found["mask"].tolist(), float(found["scale"])) == (2, [True, False, True], 0.25)
    found["weight"].zero_()
    assert found["tied"].any()
    assert run.state_dict()["bias"].tolist() == [10, 11] == run.state_dict("consensus", 4)["bias"].tolist()


def test_a_model_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    run = results.open(filled(tmp_path / "run.h5", (2, 4)))
    for model, round, words in (
        ("consenus", None, "'consenus' is not known; did you mean 'consensus'?"),
        ("local", None, "name an agent, 0 to 1"),
        (2, None, "has no agent 2; its agents are 0 to 1"),
        ("2", None, "has no agent 2"),
        (None, 3, r"no model of round 3 \(2, 4\)"),
        (None, "best", r"no model of round 'best' \(2, 4\)"),
    ):
        with pytest.raises(ResultsError, match=words):
            run.state_dict(model, round)


def test_the_best_are_written_to_two_places_in_turn_and_each_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    run = created(path)
    for round in (1, 3, 4):
        run.keep(BEST, FORM, models(round), 2)
        assert bias(path, "best") == [6 + round, 7 + round]
    run.close()
    for until, found in ((4, 4), (3, 3)):
        run = RunFile.open(path, until_round=until)
        assert run.kept_last(BEST) == found and bias(path, "best") == [6 + found, 7 + found]
        run.close()
    # What was the best before that has been overwritten.
    RunFile.open(path, until_round=2).close()
    with pytest.raises(ResultsError, match="keeps no model"):
        bias(path)


def test_a_snapshot_changes_numbers_in_place_and_one_too_many_makes_room(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    run = created(path)
    run.keep(SNAPSHOTS, FORM, models(1), 3)
    before = path.stat()
    for round in (2, 3):
        run.keep(SNAPSHOTS, FORM, models(round), 3)
    after = path.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    run.keep(SNAPSHOTS, FORM, models(7), 3)
    run.close()
    assert [bias(path, round)[0] for round in (1, 2, 3, 7)] == [7, 8, 9, 13]


def test_going_on_from_an_earlier_round_forgets_later_models(tmp_path: Path) -> None:
    path = filled(tmp_path / "run.h5", (2, 4, 6))
    run = RunFile.open(path, until_round=4)
    assert bias(path) == [10, 11]
    run.keep(SNAPSHOTS, FORM, models(5), 4)
    run.close()
    assert [kept.round for kept in results.open(path).kept] == [2, 4, 5]


def test_records_are_flushed_before_models_are_written(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    run = created(path)
    run.append({"round": 1, "loss": 0.5})
    seen = []

    def rows():
        seen.append(results.open(path).records)
        yield row(1)

    run.keep(SNAPSHOTS, replace(FORM, models={"consensus": None}), models(1)._replace(rows={"consensus": rows()}), 1)
    run.close()
    assert seen == [1]


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
            run.keep(SNAPSHOTS, FORM, models(3), 4)
    run.keep(SNAPSHOTS, FORM, models(4), 4)
    run.finish()
    assert bias(path) == [10, 11]


@pytest.mark.parametrize("place", ["consensus", "floats/consensus", "integers/consensus", "constants"])
def test_a_bit_that_was_flipped_is_noticed(tmp_path: Path, place: str) -> None:
    path = filled(tmp_path / "run.h5", (2,))
    with h5py.File(path, "r+") as file:
        array = file["snapshots"][place]
        first = (0,) * array.ndim
        array[first] = array[first] + 1
    with pytest.raises(ResultsError, match="'consensus' of round 2 does not have its checksum"):
        bias(path)
    assert results.open(path).records == 1


def test_a_file_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="keeps no model; let that run keep some, with checkpoint.final"):
        bias(filled(tmp_path / "none.h5", ()))
    run = created(tmp_path / "local.h5")
    run.keep(SNAPSHOTS, replace(FORM, models={"local": 2}), models(1)._replace(rows={"local": [row(1), row(1, 1)]}), 1)
    run.close()
    with pytest.raises(ResultsError, match="keeps agents' own models only; name one by its number"):
        results.open(tmp_path / "local.h5").state_dict()
    assert results.open(tmp_path / "local.h5").state_dict(1)["bias"].tolist() == [7.5, 8.5]
    torn = filled(tmp_path / "torn.h5", (1,))
    torn.write_bytes(torn.read_bytes()[:3000])
    with pytest.raises(ResultsError, match="cannot be read"):
        bias(torn)
