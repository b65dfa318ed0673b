"""`mpidl export` and frames: every number of the files, with the run and the settings that it belongs to."""

from __future__ import annotations

import csv
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mpidl import results
from mpidl.analysis import records
from mpidl.cli.export import export
from mpidl.cli.main import main
from mpidl.errors import ConfigError, ResultsError
from tests.analysis.runs import run
from tests.cli import test_results_commands as commands

invoke = partial(commands.invoke, export)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    run(tmp_path, "ring")
    run(tmp_path, "central", records=2, graph=None, algorithm={"name": "csgd", "lr": 0.4})
    return tmp_path


def test_every_record_is_a_row_with_its_run_and_what_sets_that_apart(folder: Path) -> None:
    rows = list(csv.DictReader(invoke(folder).stdout.splitlines()))
    assert [row["run"] for row in rows] == ["central"] * 2 + ["ring"] * 5
    first, last = rows[0], rows[-1]
    assert (first["algorithm.name"], first["algorithm.lr"], first["file"]) == (
        "csgd",
        "0.4",
        str(folder / "central.h5"),
    )
    opened = results.open(folder / "ring.h5")
    assert float(last["test_accuracy_consensus"]) == opened.last("test_accuracy_consensus") and last["round"] == "40"
    assert (last["test_accuracy_server"], first["test_accuracy_consensus"]) == ("", "")
    assert float(last["test_accuracy_local"]) == opened.curve("test_accuracy_local")[-1]


def test_a_metric_stands_for_that_of_each_runs_model(folder: Path) -> None:
    rows = list(csv.DictReader(invoke(folder, "-m", "test_accuracy").stdout.splitlines()))
    assert [float(row["test_accuracy"]) for row in rows[:3]] == [0.5, 0.75, 0.5] and "test_loss_server" not in rows[0]
    with pytest.raises(ConfigError, match="did you mean 'test_loss'"):
        invoke(folder, "-m", "test_los")


def test_long_tables_tell_agents_apart(folder: Path) -> None:
    text = invoke(folder / "ring.h5", "--long", "-o", "out.json").output
    rows = json.loads(Path("out.json").read_text())
    assert text == "out.json\n"
    local = [row for row in rows if row["metric"] == "test_accuracy_local" and row["round"] == 40]
    assert [(row["agent"], row["value"]) for row in local] == [(agent, pytest.approx(0.45)) for agent in range(3)]
    assert {row["agent"] for row in rows if row["metric"] == "consensus_distance"} == {None}
    assert len(rows) == 5 * (3 + 3)


def test_a_run_without_records_is_an_empty_table(folder: Path) -> None:
    path = run(folder, "empty", records=0).path
    for words in ([], ["--long"]):
        assert json.loads(invoke_json(path, *words)) == []
        assert len(invoke(path, *words).stdout.splitlines()) == 1


def invoke_json(*words: object) -> str:
    invoke(*words, "-o", "table.json", "--overwrite")
    return Path("table.json").read_text()


def test_outputs_are_checked_before_anything_is_read(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("there.csv").write_text("kept")
    for output, words in (
        ("there.csv", "exists; choose another with -o, or --overwrite"),
        ("x.parquet", "must end in one of .csv, .json; results.open(path).frame()"),
        ("ring.h5/x.csv", "cannot be written"),
    ):
        assert main(["export", "ring.h5", "-o", output]) == 2
        assert words in capfd.readouterr().err
    assert Path("there.csv").read_text() == "kept"
    assert main(["export", "ring.h5", "-o", "there.csv", "--overwrite"]) == 0
    assert Path("there.csv").read_text().startswith("run,file,round,epoch,seconds,bytes,")


def test_a_frame_has_the_numbers_of_the_file(folder: Path) -> None:
    pytest.importorskip("pandas", reason="the pandas extra is not installed")
    opened = results.open(folder / "ring.h5")
    wide, long = opened.frame(), opened.frame(by_agent=True)
    assert list(wide.columns[:4]) == ["round", "epoch", "seconds", "bytes"] and len(wide) == 5
    np.testing.assert_array_equal(wide["test_loss_consensus"], opened.metrics["test_loss_consensus"])
    np.testing.assert_array_equal(long[long.metric == "test_accuracy_local"].agent, [0, 1, 2] * 5)


def test_a_frame_of_many_runs_is_what_is_exported(folder: Path) -> None:
    pytest.importorskip("pandas", reason="the pandas extra is not installed")
    runs = results.open_all([folder]).runs
    frame = records.frame(runs)
    titles, rows = records.rows(runs)
    assert list(frame.columns) == titles
    for mine, its in zip(frame.itertuples(index=False), rows, strict=True):
        assert [None if value != value else value for value in mine] == its
    assert frame.groupby("run")["test_accuracy_local"].max()["ring"] == pytest.approx(0.45)
    assert len(records.frame(runs, by_agent=True)) == len(list(records.rows(runs, by_agent=True)[1]))


def test_without_pandas_the_sentence_names_the_cure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ResultsError, match=r"pip install 'mpidl\[pandas\]'"):
        results.open(folder / "ring.h5").frame()
