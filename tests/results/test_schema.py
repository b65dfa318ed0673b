"""The file is laid out as its documentation says, and as NeXus viewers and old HDF5 tools expect."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mpidl.comm.meters import METERS
from mpidl.metrics import Metric
from mpidl.results.metrics import METRICS
from mpidl.results.names import SCALES, SCHEMA_VERSION, SIGNALS
from mpidl.results.run_file import RunFile
from mpidl.results.snapshots import GROUPS
from tests.results.kept import FORM, models

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
LAYOUT = next(block for block in README.split("```") if block.startswith("\n/ "))


@pytest.fixture
def file(create: Callable[..., RunFile]) -> h5py.File:
    run = create()
    for round_ in range(4):
        run.append({"round": round_, "epoch": round_ / 2, "train_loss": 1.0, "lr": 0.1, "bytes_sent": np.ones(3)})
        run.append_timing({"waiting": np.zeros(2)})
        if round_ == 2:
            run.append({"round": round_, "test_accuracy_consensus": 0.5})
        run.flush()
    for group in GROUPS:
        run.keep(group, FORM, models(3), 1)
    run.event("note", "all is well")
    run.finish()
    with h5py.File(run.path, "r", locking=False) as opened:
        yield opened


def test_every_group_that_is_documented_is_there_and_no_other(file: h5py.File) -> None:
    documented = {line.split("/")[1].split()[0] for line in LAYOUT.splitlines() if re.match(r"/\w", line)}
    assert set(file) == documented


def test_root_attributes_are_documented(file: h5py.File) -> None:
    assert file.attrs["schema_version"] == SCHEMA_VERSION
    assert all(name in LAYOUT for name in set(file.attrs) - {"NX_class", "default"})


def test_a_viewer_that_follows_nexus_finds_the_curve(file: h5py.File) -> None:
    entry = file[file.attrs["default"]]
    data = entry[entry.attrs["default"]]
    assert [file.attrs["NX_class"], entry.attrs["NX_class"], data.attrs["NX_class"]] == ["NXroot", "NXentry", "NXdata"]
    assert data.attrs["signal"] == SIGNALS[0]
    signal, axis = data[data.attrs["signal"]], data[data.attrs["axes"][0]]
    assert signal.shape == axis.shape == (data.attrs["records"],)


def test_every_metric_has_the_scales(file: h5py.File) -> None:
    for name, dataset in file["metrics"].items():
        if name in SCALES:
            assert dataset.is_scale
        else:
            assert [label for label, _ in dataset.dims[0].items()] == list(SCALES)
            assert dataset.dims[0]["epoch"][:].tolist()[:2] == [0, 0.5]


def test_all_columns_are_as_long_as_there_are_records(file: h5py.File) -> None:
    records = file["metrics"].attrs["records"]
    assert {len(column) for table in ("metrics", "timing") for column in file[table].values()} == {records}


def test_old_tools_can_read_the_format(file: h5py.File) -> None:
    assert file.id.get_create_plist().get_version()[0] == 0


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="there is no h5dump (hdf5-tools) on PATH")
def test_h5dump_shows_all_of_a_file(file: h5py.File) -> None:
    dumped = subprocess.run(["h5dump", file.filename], capture_output=True, text=True, check=True)
    assert dumped.stderr == ""
    for path in ("/metrics/train_loss", "/snapshots/round"):
        name = path.rpartition("/")[2]
        assert re.search(
            rf'DATASET "{name}" {{.*?\n +DATA {{\n +\(0\): {file[path][0]:g}\b', dumped.stdout, re.DOTALL
        ), path
    assert '(0): "all is well' in dumped.stdout


def test_every_known_metric_and_meter_is_described() -> None:
    for metric in (*METRICS, *METERS):
        assert metric.units
        assert metric.description
        assert not metric.description.endswith(".")


def test_signals_and_scales_are_known_metrics() -> None:
    assert {*SIGNALS, *SCALES} <= {metric.name for metric in METRICS}


def test_what_a_run_declares_is_described_beside_its_numbers(create: Callable[..., RunFile]) -> None:
    run = create(metrics=[Metric("tracker_norm", "1", "norm of the tracker")])
    run.append({"round": 0, "tracker_norm": 2.0, "undeclared": 3.0})
    run.append_timing({"waiting": np.zeros(2)})
    run.flush()
    with h5py.File(run.path, "r", locking=False) as opened:
        described = {
            name: (dataset.attrs["units"], dataset.attrs["description"])
            for table in ("metrics", "timing")
            for name, dataset in opened[table].items()
        }
    assert described["tracker_norm"] == ("1", "norm of the tracker")
    assert described["waiting"] == ("s", "waiting for messages")
    assert described["undeclared"] == ("", "")
