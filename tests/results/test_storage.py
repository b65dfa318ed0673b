"""Run files are opened without locks whatever HDF5 is told, and nothing but a regular file is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mpidl.errors import ConfigError, ResultsError
from mpidl.results import lock, measurements, storage
from mpidl.results import open as open_run
from mpidl.results.checked import is_run_file
from mpidl.results.output import check_output
from tests.results.test_full_disk import room_for

ROOT = Path(__file__).parents[2]

READER = """
import sys, h5py
with h5py.File(sys.argv[1], "r", locking=True):
    print("locked", flush=True)
    sys.stdin.read()
"""

WRITER = """
import subprocess, sys
from mpidl import results
from mpidl.results.run_file import RunFile

run = RunFile.create(sys.argv[1], {}, {}, None, 1, room=2)
run.append({"round": 0})
run.flush()
with subprocess.Popen(
    [sys.executable, "-c", sys.argv[2], sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
) as reader:
    assert reader.stdout.readline() == b"locked\\n"
    for round in range(1, 6):
        run.append({"round": round})
        run.flush()
        assert results.open(run.path).records == round + 1
    run.finish()
    reader.stdin.close()
again = RunFile.open(sys.argv[1])
again.close()
"""


@pytest.mark.parametrize("told", ["TRUE", "BEST_EFFORT", "FALSE"])
def test_a_reader_that_locks_does_not_stop_the_writer_whatever_hdf5_is_told(tmp_path: Path, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path / "run.h5"), READER],
        env=os.environ | {"HDF5_USE_FILE_LOCKING": told, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert open_run(tmp_path / "run.h5").metrics["round"].tolist() == list(range(6))


@pytest.fixture(params=["pipe", "device", "link to a device"])
def strange(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """What can be opened, but is no file."""
    path = tmp_path / "run.h5"
    if request.param == "device":
        return Path("/dev/zero")
    if request.param == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_output_that_is_no_regular_file_is_refused_at_once(strange: Path, overwrite: bool) -> None:
    with pytest.raises(ConfigError, match="is no regular file; choose another with -o"):
        check_output(strange, overwrite)


@pytest.mark.parametrize("target", ["nowhere.h5", "run.h5"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_output_that_is_a_link_to_nothing_is_refused(tmp_path: Path, target: str, overwrite: bool) -> None:
    (tmp_path / "run.h5").symlink_to(target)
    with pytest.raises(ConfigError, match=f"is a link to '{target}', which is not there; choose another with -o"):
        check_output(tmp_path / "run.h5", overwrite)


def test_what_is_no_regular_file_is_not_read(strange: Path) -> None:
    with pytest.raises(OSError, match="no regular file"), storage.open_file(strange, "r"):
        pass
    assert not is_run_file(strange)
    assert not measurements.is_measurements(strange)
    with pytest.raises(ResultsError, match="no regular file"):
        open_run(strange)


def test_a_lock_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.h5.lock")
    assert lock.loss(tmp_path / "run.h5") == ""


def test_a_read_beyond_the_end_gives_zeros(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    buffer = bytearray(b"xxxxx")
    with storage._Bytes(tmp_path / "f", "r") as content:
        assert content.readinto(buffer) == 5
    assert buffer == b"abc\0\0"


def test_a_write_that_the_disk_cuts_short_ends_all_writing_and_is_told_when_hdf5_is_done(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File too large"), room_for(3000), storage.open_file(tmp_path / "f", "w") as file:
        file["a"] = np.ones(1000)
        file.attrs["b"] = 1
        told = True
    assert told
    assert (tmp_path / "f").stat().st_size == 3000


def test_a_read_that_fails_is_kept_and_gives_zeros(tmp_path: Path) -> None:
    buffer = bytearray(b"xxxxx")
    with storage._Bytes(tmp_path / "f", "w") as content:
        content.readinto(buffer)
        assert "not open for reading" in str(content.error)
    assert buffer == bytes(5)
