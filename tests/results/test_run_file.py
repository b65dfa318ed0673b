"""What is appended is what is read, whatever the order in which metrics, events and ranks turn up."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidl import results
from mpidl.errors import ConfigError, ResultsError, SaveError
from mpidl.results.output import check_output
from mpidl.results.run_file import RunFile
from tests.results.conftest import AGENTS, CONFIG, GRAPH

Create = Callable[..., RunFile]


def test_records_are_read_as_they_were_appended(create: Create) -> None:
    run = create()
    run.append({"round": 0, "epoch": 0.0, "bytes": 0, "train_loss": 2.5, "test_accuracy_local": np.arange(3) / 4})
    run.append({"round": 7, "epoch": 0.5, "bytes": 64, "train_loss": 1.5, "test_accuracy_local": np.arange(3) / 2})
    run.finish()
    stored = results.open(run.path)
    assert (stored.status, stored.records, stored.agents, stored.name) == ("finished", 2, AGENTS, "small")
    assert stored.metrics["round"].tolist() == [0, 7]
    assert stored.metrics["train_loss"].tolist() == [2.5, 1.5]
    assert stored.metrics["test_accuracy_local"].tolist() == [[0, 0.25, 0.5], [0, 0.5, 1]]
    assert np.isnan(stored.metrics["seconds"]).all()
    assert stored.curve("test_accuracy_local").tolist() == [0.25, 0.5]
    assert stored.finished >= stored.created


def test_a_file_tells_when_it_was_last_written(create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create()
    monkeypatch.setattr("mpidl.results.run_file.utc_now", lambda: "2031-02-03T04:05:06Z")
    run.append({"round": 0})
    run.flush()
    assert results.open(run.path).updated == "2031-02-03T04:05:06Z"


def test_configuration_provenance_and_graph_come_back_whole(create: Create) -> None:
    run = create()
    stored = results.open(run.path)
    assert stored.config == CONFIG
    assert stored.provenance == {"hosts": ["a", "b"]}
    assert stored.graph is not None
    assert stored.graph["name"] == "ring"
    assert stored.graph["edges"].tolist() == GRAPH["edges"]


def test_the_stored_configuration_is_one_that_can_be_read_again(create: Create, tmp_path: Path) -> None:
    from mpidl import config

    path = tmp_path / "again.yaml"
    path.write_text(results.open(create().path).config_text)
    assert config.read(path) == CONFIG


def test_without_a_graph_there_is_none(tmp_path: Path) -> None:
    run = RunFile.create(tmp_path / "run.h5", CONFIG, {}, None, AGENTS)
    run.finish()
    assert results.open(run.path).graph is None


def test_what_is_not_flushed_is_not_in_the_file(create: Create) -> None:
    run = create()
    run.append({"round": 0})
    assert results.open(run.path).records == 0
    run.flush()
    assert results.open(run.path).records == 1


@pytest.mark.parametrize("sent", [6.0, np.array([1.0, 2.0, 3.0])])
def test_bytes_are_the_sum_of_bytes_sent(create: Create, sent: float | np.ndarray) -> None:
    run = create()
    run.append({"round": 0, "bytes_sent": sent})
    run.finish()
    assert results.open(run.path).metrics["bytes"].tolist() == [6.0]


def test_a_metric_that_appears_late_is_nan_before(create: Create) -> None:
    run = create(room=2)
    for round_ in range(5):
        run.append({"round": round_} | ({"gradient_variance": 1.0} if round_ == 3 else {}))
        run.flush()
    assert np.array_equal(
        results.open(run.path).metrics["gradient_variance"], [np.nan] * 3 + [1, np.nan], equal_nan=True
    )


def test_metrics_carry_units_and_description(create: Create) -> None:
    run = create()
    run.append({"round": 0, "bytes_sent": np.ones(AGENTS), "of_a_plug_in": 1.0})
    run.append_timing({"waiting": np.ones(2)})
    run.flush()
    stored = results.open(run.path)
    assert stored.units("bytes_sent") == "bytes"
    assert "packed" in stored.description("bytes_sent")
    assert stored.units("waiting") == "s"
    assert stored.units("of_a_plug_in") == ""


def test_timing_belongs_to_its_record_and_may_change_its_number_of_ranks(create: Create) -> None:
    run = create()
    run.append({"round": 0})
    run.append({"round": 1})
    run.append_timing({"waiting": np.array([1.0, 2.0])})
    run.flush()
    run.append({"round": 2})
    run.append_timing({"waiting": np.array([3.0, 4.0, 5.0])})
    run.flush()
    run.append({"round": 3})
    run.append_timing({"waiting": np.array([6.0])})
    run.flush()
    nan = np.nan
    expected = [[nan, nan, nan], [1, 2, nan], [3, 4, 5], [6, nan, nan]]
    assert np.array_equal(results.open(run.path).timing["waiting"], expected, equal_nan=True)


def test_events_keep_every_word(create: Create) -> None:
    run = create(room=2)
    # The last quotes what no text of a file can hold.
    texts = ["kurz", "größer " * 200, "", "ring → chain", "float6\udccd and \0"]
    for round_, text in enumerate(texts):
        run.event("warning" if round_ else "a kind with a name of more than twenty-four letters", text, round_)
        run.flush()
    events = results.open(run.path).events
    assert [event.text for event in events] == [*texts[:4], "float6\\udccd and \\x00"]
    assert [event.round for event in events] == [0, 1, 2, 3, 4]
    assert events[0].kind == "a kind with a name of more than twenty-four letters"


@given(
    plan=st.lists(
        st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans(), st.integers(0, 400)), min_size=1, max_size=14
    ),
    room=st.integers(1, 6),
)
@settings(deadline=None, derandomize=True, max_examples=30)
def test_what_is_read_depends_neither_on_flushes_nor_on_room(
    plan: list[tuple[str, bool, bool, int]], room: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("runs")

    def written(name: str, room: int, flushes: bool) -> results.Run:
        run = RunFile.create(folder / name, CONFIG, {}, None, AGENTS, room=room)
        for number, (metric, flush, timed, letters) in enumerate(plan):
            run.append({"round": number, metric: number / 8, metric + "s": np.full(AGENTS, number)})
            if timed:
                run.append_timing({metric: np.arange(2) + number})
            if letters % 3 == 0:
                run.event("note", "x" * letters, number)
            if flush and flushes:
                run.flush()
        run.finish()
        return results.open(run.path)

    pieces, whole = written("pieces.h5", room, True), written("whole.h5", 256, False)
    assert pieces.records == whole.records == len(plan)
    for table in ("metrics", "timing"):
        ours, theirs = getattr(pieces, table), getattr(whole, table)
        assert set(ours) == set(theirs)
        assert all(np.array_equal(ours[name], theirs[name], equal_nan=True) for name in theirs)
    assert [event[1:] for event in pieces.events] == [event[1:] for event in whole.events]


@pytest.mark.parametrize("record", [{}, {"round": 0, "loss": np.zeros(AGENTS + 1)}, {"round": 0, "loss": [[1.0]]}])
def test_a_record_of_the_wrong_shape_is_refused(create: Create, record: dict) -> None:
    with pytest.raises(ValueError, match=r"round|shape"):
        create().append(record)


def test_timing_without_a_record_is_refused(create: Create) -> None:
    with pytest.raises(ValueError, match="append the record first"):
        create().append_timing({"waiting": np.zeros(2)})


def test_an_unknown_status_is_refused(create: Create) -> None:
    with pytest.raises(ValueError, match="done"):
        create().finish("done")


def test_an_existing_file_is_refused_with_the_cure_and_left_alone(create: Create) -> None:
    path = create().path
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"exists; --resume to go on with it, choose another with -o, or --overwrite"):
        create()
    assert path.read_bytes() == before


def test_overwriting_replaces_the_file(create: Create) -> None:
    run = create()
    run.append({"round": 0})
    run.finish()
    create(overwrite=True)
    assert results.open(run.path).records == 0


def test_an_output_that_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "run.h5", tmp_path, Path("/proc/nowhere/run.h5")):
        for attempt in (lambda path=path: check_output(path), lambda path=path: RunFile.create(path, {}, {}, None, 1)):
            with pytest.raises(ConfigError, match="-o") as caught:
                attempt()
            assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_run_that_cannot_be_created_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        RunFile.create(tmp_path / "run.h5", CONFIG, {"what": object()}, None, AGENTS)
    assert not list(tmp_path.iterdir())


def test_a_finished_run_leaves_one_file(create: Create) -> None:
    run = create()
    run.append({"round": 0})
    run.finish()
    assert [path.name for path in run.path.parent.iterdir()] == ["run.h5"]


def test_an_end_that_cannot_be_written_is_told_and_gives_up_the_lock(create: Create) -> None:
    run = create()
    run.path.unlink()
    with pytest.raises(SaveError, match="run.h5' could not be written"):
        run.finish()
    assert not list(run.path.parent.iterdir())


def test_one_writer_at_a_time(create: Create) -> None:
    run = create()
    with pytest.raises(ResultsError, match=r"being written by process \d+ on"):
        RunFile.open(run.path)
    run.finish()
    RunFile.open(run.path).close()


def test_a_reader_that_locks_does_not_stop_the_writer(create: Create) -> None:
    run = create()
    run.append({"round": 0})
    run.flush()
    with run.path.open("rb") as reader:
        # What HDF5 does in a process that opens the file for reading.
        fcntl.flock(reader, fcntl.LOCK_SH | fcntl.LOCK_NB)
        run.append({"round": 1})
        run.flush()
    assert results.open(run.path).records == 2


def test_going_on_appends_after_the_last_record(create: Create) -> None:
    run = create(room=2)
    for round_ in range(3):
        run.append({"round": round_, "train_loss": round_})
    run.finish("interrupted")
    again = RunFile.open(run.path)
    assert results.open(run.path).status == "running"
    again.append({"round": 3, "train_loss": 3})
    again.finish()
    stored = results.open(run.path)
    assert stored.metrics["train_loss"].tolist() == [0, 1, 2, 3]
    assert stored.status == "finished"


@pytest.mark.parametrize(("until", "left"), [(25, 3), (20, 3), (-1, 0), (99, 5)])
def test_going_back_cuts_off_later_records(create: Create, until: int, left: int) -> None:
    run = create(room=2)
    for round_ in range(5):
        run.append({"round": 10 * round_, "train_loss": round_})
        run.append_timing({"waiting": np.zeros(2)})
    run.finish()
    again = RunFile.open(run.path, until_round=until)
    assert results.open(run.path).records == left
    again.append({"round": 1000})
    again.finish()
    stored = results.open(run.path)
    assert stored.metrics["round"].tolist() == [0, 10, 20, 30, 40][:left] + [1000]
    assert np.isnan(stored.metrics["train_loss"][-1])
    assert len(stored.timing["waiting"]) == left + 1


def test_rows_beyond_the_commit_are_never_shown_and_are_cut(create: Create) -> None:
    run = create()
    run.append({"round": 0, "train_loss": 1.0})
    run.finish()
    with h5py.File(run.path, "r+", locking=False) as file:
        file["metrics/train_loss"].resize(3, axis=0)
    assert results.open(run.path).metrics["train_loss"].tolist() == [1.0]
    RunFile.open(run.path).close()
    with h5py.File(run.path, "r", locking=False) as file:
        assert len(file["metrics/train_loss"]) == 1
