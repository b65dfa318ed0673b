"""`mpidl bench`: a table and a file of what was asked for, and one sentence for what cannot be measured."""

from __future__ import annotations

import sys

import h5py
import pytest
from click.testing import CliRunner

from mpidl.cli.bench import bench
from mpidl.errors import ConfigError
from tests.cli.test_run import mpidl

pytestmark = pytest.mark.mpi


def test_a_table_and_a_file_hold_every_length_graph_and_transport(tmp_path, mpirun):
    output = tmp_path / "bench.h5"
    words = ["-n", "2", "-g", "ring,directed-ring", "-p", "1,2e5", "--seconds", "0", "-o", str(output)]
    done = mpidl("bench", *words)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.strip()]
    measured = [tuple(line[:4]) for line in lines if line[1:2] == ["mix"]]
    graphs = ("ring", "directed-ring")
    assert done.stdout.count("auto: shared memory") == 4
    told = [(g, t) for g in graphs for t in ("auto:", "messages")]
    assert measured == [(p, "mix", *words) for p in ("1", "200,000") for words in told]
    with h5py.File(output) as file:
        columns = {name: dataset[()] for name, dataset in file["bench"].items()}
        assert file["bench/median"].attrs["units"] == "s"
        assert "versions" in file.attrs["provenance"]
    assert columns["what"].tolist() == 2 * [b"copy", b"allreduce", b"sum", *4 * [b"mix"]]
    assert columns["ranks"].tolist() == 14 * [2]
    assert columns["bytes"].tolist() == 7 * [4] + 7 * [800_000]
    assert (columns["low"] <= columns["median"]).all()
    assert (columns["low"] > 0).all()
    refused = mpidl("bench", *words)
    assert refused.returncode == 2
    assert "exists" in refused.stderr
    before = output.read_bytes()
    under = mpirun(2, [sys.executable, "-m", "mpidl", "bench", "-p", "1", "--seconds", "0", "-o", str(output)])
    assert under.returncode == 2 and "exists" in under.stderr and output.read_bytes() == before
    again = mpidl("bench", *words, "--overwrite")
    assert again.returncode == 0, again.stderr
    assert output.read_bytes() != before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-g", "rong"], "--graphs: graph 'rong' is not known; did you mean 'ring'"),
        (["-g", "petersen", "-n", "2"], "--graphs: .*10"),
        (["-p", "1,many"], "--parameters: '1,many' is not a list of lengths"),
        (["-p", "0"], "--parameters: 0 is not a length"),
        (["-p", "2.5"], "--parameters: 2.5 is not a length"),
        (["-p", "nan"], "--parameters: nan is not a length"),
        (["-p", "1e30"], r"--parameters: 1e\+30 is not a length; give whole numbers from 1 to 1.09951e\+12"),
        (["-p", "1e11"], "--parameters: rows of 100,000,000,000 numbers need .* TB on .* ranks, and .*B are free"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_ranks_start(words, told, monkeypatch):
    # Inside an allocation nothing is said of memory.
    for variable in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigError, match=told):
        CliRunner().invoke(bench, words, catch_exceptions=False, standalone_mode=False)
