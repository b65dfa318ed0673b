"""A row says what a run reached."""

from __future__ import annotations

import math
from pathlib import Path

from mpidl import results
from mpidl.analysis.comparison import row
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
