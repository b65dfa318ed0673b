"""Jobs on a real Slurm of two nodes; what takes long is in tests/full/test_slurm.py."""

from __future__ import annotations

from pathlib import Path

from mpidl import results
from tests.launch.slurm import Cluster, is_over
from tests.training.resumed import assert_alike


def test_a_job_trains_on_two_nodes_with_the_bits_of_one_rank(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    refused = cluster.mpidl("submit", "small.yaml", "-n", "4", "-p", "gpuu")
    assert refused.returncode == 2
    assert refused.stderr.startswith("mpidl: sbatch refuses the job: invalid partition specified: gpuu; ")
    assert refused.stderr.endswith("; -p names another: `sinfo --summarize` lists them\n")
    job = cluster.submit("-t", "10 min")
    alone = cluster.mpidl("run", "small.yaml", "-n", "1", "-o", "alone.h5")
    assert alone.returncode == 0, alone.stderr
    state = cluster.wait(job, is_over)
    assert (state["JobState"], state["ExitCode"]) == ("COMPLETED", "0:0"), cluster.log(job)
    assert {path.name for path in tmp_path.glob("node-*")} == {"node-n1", "node-n2", "node-none"}
    assert results.open(tmp_path / "out.h5").provenance["job_id"] == f"slurm {job}"
    assert_alike(tmp_path / "out.h5", tmp_path / "alone.h5")
