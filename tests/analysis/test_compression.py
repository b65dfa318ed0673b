"""What packing has lost is read from the records, beside what theory allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpidl import results
from mpidl.analysis import compression
from mpidl.analysis.studies.compression import study
from mpidl.analysis.subject import Missing
from mpidl.results.run_file import RunFile
from tests.analysis.kept import kept_run


def recorded(folder: Path, **sections: object) -> results.Run:
    path = kept_run(folder / "run.h5", **sections)
    file = RunFile.open(path)
    for round, error in ((30, 0.75), (40, 0.5)):
        file.append({"round": round, "compression_error": error, "compression_error_cross-gradients": error / 2})
    file.finish()
    return results.open(path)


def test_errors_are_those_of_the_records_and_bounds_those_of_the_compressors(tmp_path: Path) -> None:
    gossip = {"scheme": {"name": "choco", "gamma": 0.3}, "compressor": {"name": "topk", "fraction": 0.25}}
    run = recorded(tmp_path, algorithm={"name": "ngc"}, gossip=gossip | {"cross_gradients": {"name": "sign"}})
    found = compression.of_run(run)
    assert found.rounds.tolist() == [30, 40]
    assert {name: values.tolist() for name, values in found.errors.items()} == {
        "parameters": [0.75, 0.5],
        "cross-gradients": [0.375, 0.25],
    }
    assert np.isclose(found.bounds["parameters"], 0.75, atol=0.01)
    assert 0.9 < found.bounds["cross-gradients"] < 1
    findings = study(run)
    assert findings["contraction_parameters"].tolist() == [0.25, 0.5]
    assert findings.number("mean_error_parameters") == 0.625


def test_a_run_that_packs_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="nothing was compressed"):
        study(results.open(kept_run(tmp_path / "run.h5")))
