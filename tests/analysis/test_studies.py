"""Studies of runs that keep models, large ones too, and what they say about what a run lacks."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mpidl import results
from mpidl.analysis import subject
from mpidl.analysis.studies import STUDIES
from mpidl.analysis.studies.base import Choices, End
from mpidl.analysis.subject import Missing
from mpidl.experiment import Config
from mpidl.layout import PARAMETERS
from mpidl.results import snapshots
from mpidl.results.storage import open_file
from tests.analysis.kept import CONFIG, form_of, kept_run

FEW = Choices(points=3, draws=4, eigenvalues=2, steps=20, probes=2)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> subject.Subject:
    return subject.of_run(results.open(kept_run(tmp_path_factory.mktemp("kept") / "run.h5")), examples=100)


def test_a_line_leads_to_another_run(kept: subject.Subject, tmp_path: Path) -> None:
    other = results.open(kept_run(tmp_path / "other.h5", seed=4)).model()
    end = End("other", subject.row_of(other))
    found = STUDIES["landscape"](kept, FEW, end)
    assert found.settings["line"] == ["consensus after round 20", "other"]
    assert found["line_test_loss"][-1] == kept.test.value(end.row)
    with pytest.raises(Missing, match="of different sizes"):
        STUDIES["landscape"](kept, FEW, End("short", end.row[1:]))


def test_of_the_training_part_no_more_is_looked_at_than_wished(kept: subject.Subject) -> None:
    assert 90 < kept.train_examples <= 100
    assert sum(len(y) for _, y in kept.train.chunks) == kept.train_examples


def test_of_a_long_trajectory_some_rounds_are_looked_at(tmp_path: Path) -> None:
    opened = subject.of_run(results.open(kept_run(tmp_path / "run.h5", tuple(range(1, 12)))), examples=20)
    assert opened.along(11) == list(range(1, 12))
    assert opened.along(3) == [1, 6, 11]
    found = STUDIES["alignment"](opened, Choices(rounds=3), None)
    assert found["round"].tolist() == [1, 6, 11]
    assert found["cosines"].shape == (3, 4, 4)


def test_agents_that_span_the_plane_lie_in_it(kept: subject.Subject) -> None:
    chosen = STUDIES["landscape"](kept, Choices(points=2, agents=(0, 3, 1)), None)
    assert chosen.settings["agents"] == [0, 3, 1]
    off = chosen["agents_off"]
    assert (off[[0, 3, 1]] < 1e-6).all()
    assert off[2] > 0.1
    far = STUDIES["landscape"](kept, Choices(points=2), None)
    assert len(set(far.settings["agents"])) == 3


def test_rows_of_agents_that_do_not_fit_into_memory_are_read_one_at_a_time(
    kept: subject.Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = STUDIES["uncertainty"](kept, FEW, None)
    monkeypatch.setattr(subject, "_BYTES", 0)
    opened = subject.of_run(results.open(kept.path))
    assert STUDIES["uncertainty"](opened, FEW, None)["loss_agents"].tolist() == together["loss_agents"].tolist()
    assert not opened.at().own._kept


PROGRAM = """
import resource, sys
from pathlib import Path
from mpidl import results
from mpidl.analysis import sharpness, subject, uncertainty

subject._BYTES = 0
opened = subject.of_run(results.open(Path(sys.argv[1])), examples=16)
moment, L = opened.at(), opened.train
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sharpness.average_direction(L, moment.held, moment.own, draws=2)
uncertainty.study(L, moment.own, moment.held)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
ROUNDS, AGENTS, HIDDEN = 1020, 4, 13_200


def test_a_file_of_twenty_gigabytes_is_analysed_row_by_row(tmp_path: Path) -> None:
    """Sparse: models that were never written are zeros, and their checksums are those of zeros."""
    sections = {"model": {"name": "mlp", "hidden": [HIDDEN]}, "agents": AGENTS}
    path = kept_run(tmp_path / "large.h5", (), **sections)
    form = form_of(Config.model_validate(CONFIG | sections))
    with open_file(path, "r+") as file:
        snapshots.create(file, "snapshots", form, ROUNDS)
        group = file["snapshots"]
        group["round"][:] = np.arange(ROUNDS) + 1
        digest = hashlib.sha256(form.network.to_json().encode())
        digest.update(np.zeros(form.network.length(PARAMETERS), dtype=np.float32).data)
        for name in form.models:
            group[f"sha256/{name}"][...] = digest.hexdigest().encode()
        group.attrs["records"] = ROUNDS
    assert path.stat().st_size > 20e9
    assert path.stat().st_blocks * 512 < 2e7
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # In kB: a hundredth of the file.
    assert int(done.stdout) < 200_000
