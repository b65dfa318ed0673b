"""Preempted, cancelled and repeated jobs on a real Slurm."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from mpidl import results
from mpidl.results.checkpoints.folder import CheckpointFolder
from tests.launch.slurm import Cluster, apart, is_over
from tests.launch.test_scripts import ROOT, executable
from tests.launch.test_second_mpi import SECOND
from tests.training.resumed import assert_alike, told

pytestmark = pytest.mark.full


def kept(output: Path) -> int:
    """The round of the newest checkpoint."""
    return max(CheckpointFolder(output).rounds(), default=0)


def test_a_training_longer_than_its_job_finishes_by_itself_with_the_same_bits(tmp_path: Path) -> None:
    cluster, output = Cluster(tmp_path), tmp_path / "out.h5"
    # Too slow for a job of one minute, until it has been stopped twice.
    cluster.pause(1)
    job = cluster.submit("-t", "00:01:00", "--notice", "20 s")
    cluster.wait(job, lambda state: int(state["Restarts"]) >= 2 and state["JobState"] == "RUNNING")
    cluster.pause(0)
    state = cluster.wait(job, is_over)
    assert (state["JobState"], state["ExitCode"]) == ("COMPLETED", "0:0"), cluster.log(job)
    assert cluster.log(job).count("mpidl: stopped after round ") == int(state["Restarts"])
    assert all(f" in slurm {job}; no recorded round is lost" in text for text in told(output))
    assert len(told(output)) == int(state["Restarts"])
    alone = cluster.mpidl("run", "small.yaml", "-n", "1", "-o", "alone.h5")
    assert alone.returncode == 0, alone.stderr
    assert_alike(output, tmp_path / "alone.h5")


def test_a_cancelled_job_does_not_start_again_and_leaves_a_run_to_go_on_with(tmp_path: Path) -> None:
    cluster, output = Cluster(tmp_path), tmp_path / "out.h5"
    for batch in ([], ["--batch", "--signal=TERM"]):
        cluster.pause(0.2)
        before = kept(output)
        job = cluster.submit("-t", "10 min", "-s", "checkpoint.every=2", "-s", "evaluate.every=1")
        deadline = time.monotonic() + 60
        while kept(output) <= before:
            assert time.monotonic() < deadline, cluster.log(job)
            time.sleep(0.2)
        assert cluster.call("scancel", *batch, job).returncode == 0
        state = cluster.wait(job, is_over)
        assert state["JobState"] in ("CANCELLED", "FAILED") and state["Restarts"] == "0"
        # Slurm itself ends the ranks, which leaves the checkpoints that there are, unless the script alone is told to.
        last = "--resume goes on from there" if batch else "mpidl: interrupted"
        assert last in cluster.log(job) and results.open(output).status == "interrupted"
    cluster.pause(0)
    state = cluster.wait(cluster.submit("-s", "checkpoint.every=2", "-s", "evaluate.every=1"), is_over)
    assert state["JobState"] == "COMPLETED" and len(told(output)) == 2
    alone = cluster.mpidl("run", "small.yaml", "-n", "1", "-o", "alone.h5", "-s", "evaluate.every=1")
    assert alone.returncode == 0, alone.stderr
    assert_alike(output, tmp_path / "alone.h5")


def test_each_task_of_an_array_starts_again_by_itself(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    executable(
        tmp_path / "mpidl",
        '#!/bin/bash\n[ "$1" = run ] && touch "$SLURM_ARRAY_TASK_ID-${SLURM_RESTART_COUNT:-0}"\n'
        '[ "$1" = env ] || [ "$SLURM_ARRAY_TASK_ID" = 1 ] || [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] || exit 75\n',
    )
    script = str(ROOT / "jobs" / "slurm-single-node.sh")
    path = f"{tmp_path}:/usr/bin:/bin"
    done = cluster.call("sbatch", "--parsable", "--array=0-2", "--ntasks=2", script, "a.yaml", PATH=path)
    job = done.stdout.strip()
    for task in range(3):
        state = cluster.wait(f"{job}_{task}", is_over)
        assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "0" if task == 1 else "1")
    assert {path.name for path in tmp_path.glob("?-?")} == {"0-0", "0-1", "1-0", "2-0", "2-1"}


def test_a_sweep_is_one_job_whose_tasks_start_again_by_themselves_and_what_is_done_is_not_submitted_again(
    tmp_path: Path,
) -> None:
    cluster = Cluster(tmp_path)
    words = ["sweep", "small.yaml", "-s", "algorithm.lr=0.05,0.1", "-s", "seed=1:3", "-n", "2", "-o", "out", "--submit"]
    cluster.pause(0.3)
    done = cluster.mpidl(*words, "-t", "10 min")
    job = done.stdout.strip()
    assert f"6 runs submitted as Slurm job {job}; " in done.stderr, done.stderr
    # What is in work stays there.
    beside = cluster.mpidl(*words)
    assert (beside.returncode, beside.stdout) == (0, ""), beside.stderr
    assert beside.stderr.endswith(f"6 runs are in Slurm job {job}, which goes on; squeue -j {job}\n")
    third = f"{job}_3"
    cluster.wait(third, lambda state: (tmp_path / "out" / "lr=0.05_seed=3.h5").exists())
    assert cluster.call("scancel", "--batch", "--signal=USR2", third).returncode == 0
    cluster.wait(third, lambda state: state["Restarts"] == "1")
    cluster.pause(0)
    for task in range(1, 7):
        state = cluster.wait(f"{job}_{task}", is_over)
        assert (state["JobState"], state["ExitCode"]) == ("COMPLETED", "0:0"), state
        assert state["Restarts"] == ("1" if task == 3 else "0")
    shown = cluster.mpidl(*words)
    assert (shown.returncode, shown.stdout) == (0, ""), shown.stderr
    assert len(re.findall(r"lr=\S+_seed=\d +finished +60 ", shown.stderr)) == 6
    assert shown.stderr.endswith("6 finished; results in out\n")
    (tmp_path / "out" / "lr=0.1_seed=1.h5").unlink()
    again = cluster.mpidl(*words)
    assert "1 waiting, 5 finished; results in out\n1 run submitted as Slurm job " in again.stderr, again.stderr
    state = cluster.wait(f"{again.stdout.strip()}_1", is_over)
    assert (state["JobState"], state["ExitCode"]) == ("COMPLETED", "0:0")
    alone = cluster.mpidl("run", "small.yaml", "-n", "1", "-o", "alone.h5", "-s", "algorithm.lr=0.05", "-s", "seed=3")
    assert alone.returncode == 0, alone.stderr
    assert_alike(tmp_path / "out" / "lr=0.05_seed=3.h5", tmp_path / "alone.h5")
    compared = cluster.mpidl("compare", "out").stdout
    assert all(f"lr={rate}" in compared for rate in ("0.05", "0.1")), compared


INSIDE = """#!/bin/bash
#SBATCH --nodes=2 --ntasks=4 --ntasks-per-node=2 --output=inside.log
mpidl run small.yaml -s agents=auto -s graph=ring --dry-run -o a.h5
mpidl run small.yaml -s agents=5 -n 5 --dry-run -o a.h5
echo "code $?"
srun mpidl run small.yaml -o a.h5
echo "code $?"
srun --mpi=pmi2 mpidl run small.yaml -o a.h5
echo "code $?"
mpidl run small.yaml -s train.device=cuda -o a.h5
echo "code $?"
"""


def test_a_run_has_the_ranks_of_its_job_and_ranks_that_do_not_find_each_other_are_refused(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    executable(tmp_path / "mpidl", f'#!/bin/bash\nexec {sys.executable} -m mpidl "$@"\n')
    (tmp_path / "inside.sh").write_text(INSIDE)
    done = cluster.call("sbatch", "--parsable", "inside.sh", PATH=f"{tmp_path}:/usr/bin:/bin")
    cluster.wait(done.stdout.strip(), is_over)
    log = (tmp_path / "inside.log").read_text()
    assert "agents on ranks     4 on 4\n" in log
    assert "mpidl: -n: 5 ranks are more than the 4 cores of Slurm job " in log
    sentence = "mpidl: srun started 4 processes, but MPI (Open MPI v"
    assert sentence in log and "start with `srun --mpi=pmix` or `--mpi=pmi2`" in log
    assert (
        "PMI2, as Open MPI: start with `srun --mpi=pmix`" in log and "train.device: 'cuda' cannot be used here: " in log
    )
    assert log.count("\ncode 2\n") == 4 and not (tmp_path / "a.h5").exists()


def test_what_only_a_node_shows_stands_in_the_jobs_log_in_one_sentence(tmp_path: Path) -> None:
    cluster, place = Cluster(tmp_path), tmp_path / "place"
    words = [
        "submit",
        "small.yaml",
        "-n",
        "2",
        "-o",
        "place/a.h5",
        "--directive=--hold",
        "--directive=--output=job.log",
    ]
    job = cluster.mpidl(*words).stdout.strip()
    # Where the job was submitted, it could be written.
    place.rmdir()
    place.touch()
    assert cluster.call("scontrol", "release", job).returncode == 0
    state = cluster.wait(job, is_over)
    assert (state["JobState"], state["ExitCode"], state["Restarts"]) == ("FAILED", "2:0", "0")
    last = (tmp_path / "job.log").read_text().splitlines()[-1]
    assert last.startswith("mpidl: the output 'place/a.h5' cannot be written: "), last


def test_a_job_that_is_too_large_is_said_to_wait_and_what_is_not_there_is_refused(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)

    def answer(*words: str) -> str:
        return cluster.mpidl("submit", "small.yaml", "-n", "2", "-o", "out.h5", *words).stderr

    assert "as things stand, it cannot start: Requested node configuration" in answer("--cores-per-rank", "9")
    assert "(gres) specification; say another --gpus-per-node, or -p where there are" in answer("--gpus-per-node", "1")
    assert "Invalid directive found in batch script: qos=high; leave out, or" in answer("--directive", "qos=high")
    assert "-p names another: `sinfo --summarize` lists them" in answer("-p", "gpuu")
    cluster.call("scancel", "--me")


# As the second MPI's ranks are started in a job: by its own mpiexec, and by srun.
SECOND_MPI = """#!/bin/bash
#SBATCH --nodes=2 --ntasks=4 --ntasks-per-node=2 --output=second.log
"$SECOND" -m mpidl run small.yaml -o mpiexec-in-job.h5 &&
    MPIDL_LAUNCHER=srun "$SECOND" -m mpidl run small.yaml -o srun.h5
"""


@pytest.mark.skipif(not SECOND.exists(), reason="no .venv-mpich: tools/test.sh makes it")
def test_mpirun_mpiexec_and_jobs_of_both_leave_the_same_bits(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    job = cluster.submit("-t", "10 min")
    (tmp_path / "second.sh").write_text(SECOND_MPI)
    second = cluster.call("sbatch", "--parsable", "second.sh", SECOND=str(SECOND)).stdout.strip()
    for python, output in ((sys.executable, "mpirun.h5"), (str(SECOND), "mpiexec.h5")):
        done = cluster.call(python, "-m", "mpidl", "run", "small.yaml", "-n", "4", "-o", output)
        assert done.returncode == 0, done.stderr
    for number, log in ((job, f"out-{job}.log"), (second, "second.log")):
        state = cluster.wait(number, is_over)
        assert (state["JobState"], state["ExitCode"]) == ("COMPLETED", "0:0"), (tmp_path / log).read_text()
        # UCX tells of messages that nobody has received.
        assert not re.findall(r".* UCX +WARN .*", (tmp_path / log).read_text())
    assert {path.name for path in tmp_path.glob("node-*")} == {"node-n1", "node-n2", "node-none"}
    libraries = {name: results.open(tmp_path / f"{name}.h5").provenance["mpi"] for name in ("mpirun", "srun")}
    assert libraries["mpirun"] != libraries["srun"], libraries
    for other in ("out.h5", "mpiexec.h5", "mpiexec-in-job.h5", "srun.h5"):
        assert_alike(tmp_path / other, tmp_path / "mpirun.h5")


# A rank that fails by itself.
BROKEN = """
import os

def loss(module, x, y):
    if os.environ["SLURM_PROCID"] == "3":
        raise ValueError("no such thing")
    import own
    return own.loss(module, x, y)
"""


def test_srun_with_pmix_starts_ranks_on_nodes_that_are_apart_with_the_bits_of_mpirun(tmp_path: Path) -> None:
    cluster = apart(tmp_path)
    (tmp_path / "broken.py").write_text(BROKEN)
    run = (sys.executable, "-P", "-m", "mpidl", "run", "small.yaml")
    size = ("--nodes=2", "--ntasks=4", "--ntasks-per-node=2")
    # Started by srun, and by mpidl with srun, in a job.
    starts = ((("srun", *size, "--mpi=pmix"), {}), (("salloc", "--quiet", *size), {"MPIDL_LAUNCHER": "srun"}))
    for place, (start, more) in enumerate(starts):
        done = cluster.call(*start, *run, "-o", f"{place}.h5", **more)
        assert done.returncode == 0, done.stderr
        assert "4 agents on 4 ranks of 2 hosts" in done.stderr
        broken = cluster.call(*start, *run, "-s", "loss=broken:loss", "-o", f"broken-{place}.h5", **more)
        assert broken.returncode == 2
        said = [line for line in broken.stderr.splitlines() if line.startswith("mpidl: ")]
        assert said == ["mpidl: rank 3 on b: loss: 'broken:loss' failed: ValueError: no such thing (broken.py, line 6)"]
        # What Slurm says of it, `mpidl run` leaves out.
        assert ("srun: error: " in broken.stderr) == (place == 0), broken.stderr
    assert {path.name for path in tmp_path.glob("node-*")} == {"node-a", "node-b"}
    alone = cluster.mpidl("run", "small.yaml", "-n", "4", "-o", "mpirun.h5")
    assert alone.returncode == 0, alone.stderr
    for place in range(len(starts)):
        assert results.open(tmp_path / f"{place}.h5").status == "finished"
        assert_alike(tmp_path / f"{place}.h5", tmp_path / "mpirun.h5")
