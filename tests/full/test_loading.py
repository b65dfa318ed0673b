"""A rank that dies while data are loaded for all ranks of a node ends the run, with a sentence, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import CONFIG
from tests.cli.test_run import mpidl

pytestmark = [pytest.mark.full, pytest.mark.mpi]

OWN = """
import os, signal, threading, time
import numpy as np
from mpidl.data import Dataset

rank = os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK"))
who, how = os.environ["HOW_A_RANK_ENDS"].split()

def end():
    os.kill(os.getpid(), signal.SIGKILL)

def data():
    if rank == who and how == "raises":
        raise OSError("no such disk")
    if rank == who and how == "killed":
        end()
    # For the others to come so far that they wait for the data.
    time.sleep(6)
    numbers = np.random.default_rng(1).normal(size=(400, 8)).astype(np.float32)
    labels = (numbers[:, 0] > 0).astype(np.int64)
    return Dataset(numbers, labels, numbers[:40], labels[:40])

if rank == who and how == "waits":
    threading.Timer(4, end).start()
"""


@pytest.mark.parametrize(
    ("how", "code", "sentence"),
    [
        ("0 killed", 5, ("rank 0 on ", "died before training began", "was ended by SIGKILL")),
        ("1 waits", 5, ("rank 1 on ", "died before training began", "was ended by SIGKILL")),
        ("0 raises", 2, ("all 2 ranks: data 'own:data' raised OSError: no such disk (own.py, line 14)",)),
    ],
)
def test_a_rank_that_dies_while_data_are_loaded_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, code: int, sentence: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(CONFIG)
    Path("own.py").write_text(OWN)
    done = mpidl("run", "small.yaml", "-n", "2", "-s", "data=own:data", "-o", "out.h5", HOW_A_RANK_ENDS=how)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == code and sentence[0] in last, done.stderr
    assert len(sentence) == 1 or any(words in last for words in sentence[1:]), done.stderr
    # Of the only rank that is left.
    assert "all 1 ranks" not in last
    assert not list(tmp_path.glob("out*"))
