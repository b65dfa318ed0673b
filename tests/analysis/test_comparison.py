"""A row says what a run reached; a label says what sets it apart, and nothing else."""

from __future__ import annotations

import math
from pathlib import Path

from mpidl import results
from mpidl.analysis.comparison import labels, row
from mpidl.results.run_file import RunFile
from tests.analysis.runs import run


def test_a_row_takes_the_consensus_model_or_else_the_server(tmp_path: Path) -> None:
    ring, central = run(tmp_path, "ring"), run(tmp_path, "central", graph=None, algorithm={"name": "csgd"})
    for found, algorithm, graph in ((row(ring), "dsgd", "ring"), (row(central), "csgd", "–")):
        assert (found.algorithm, found.graph) == (algorithm, graph)
        assert math.isclose(found.accuracy, 0.9)
        assert math.isclose(found.loss, 0.1)
        assert (found.agents, found.ranks, found.rounds, found.bytes, found.seconds) == (3, 2, 40, 6000, 8)


def test_a_row_of_a_run_that_diverged_has_no_loss_from_before(tmp_path: Path) -> None:
    file = RunFile.create(tmp_path / "diverged.h5", {"name": "diverged"}, {}, None, 1)
    for round, loss in ((0, 1.5), (2, math.nan)):
        file.append({"round": round, "seconds": 1.0, "test_accuracy_consensus": 0.25, "test_loss_consensus": loss})
    file.append({"round": 3, "seconds": 1.0, "test_accuracy_consensus": math.nan, "test_loss_consensus": math.nan})
    file.finish("diverged")
    found = row(results.open(file.path))
    assert found.accuracy == 0.25 and math.isnan(found.loss)


def test_a_run_without_records_has_a_row(tmp_path: Path) -> None:
    found = row(run(tmp_path, "empty", records=0))
    assert found.rounds == 0
    assert math.isnan(found.accuracy)


def test_labels_name_only_what_differs(tmp_path: Path) -> None:
    runs = [run(tmp_path, name, graph={"name": name, "weights": "metropolis"}) for name in ("ring", "chain")]
    assert labels(runs) == ["ring", "chain"]


def test_labels_name_a_setting_where_the_part_is_the_same(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, f"lr-{lr}", algorithm={"name": "dsgd", "lr": lr}, seed=seed) for seed, lr in ((1, 0.1), (2, 1))
    ]
    assert labels(runs) == ["seed 1, lr 0.1", "seed 2, lr 1"]


def test_a_section_that_only_some_have_is_no_difference_by_itself(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, "central", graph=None, algorithm={"name": "csgd", "lr": 0.1}),
        run(tmp_path, "ring"),
        run(tmp_path, "chain", graph={"name": "chain"}),
    ]
    assert labels(runs[:2]) == ["csgd", "dsgd"]
    assert labels(runs) == ["csgd", "dsgd, ring", "dsgd, chain"]


def test_runs_of_one_configuration_are_told_apart_by_their_files(tmp_path: Path) -> None:
    first, second = run(tmp_path, "first"), run(tmp_path, "second")
    assert labels([first, second]) == ["first", "second"]
    (tmp_path / "again").mkdir()
    again = run(tmp_path / "again", "first")
    assert len(set(labels([first, again]))) == 2


def test_a_setting_that_is_null_in_one_run_is_a_difference(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, f"clip-{clip}", algorithm={"name": "dsgd", "clip_norm": clip, "lr": 0.1}) for clip in (None, 1.0)
    ]
    assert labels(runs) == ["clip-None", "clip_norm 1.0"]
