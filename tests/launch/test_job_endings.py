"""How a job ends and starts again: scripts of jobs/ by bash, with stand-ins for mpidl and for the scheduler's commands.

The stand-ins behave as the schedulers' documents say. PBS and LSF were tried nowhere else; Slurm is in test_slurm.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpidl.config import validate
from mpidl.launch.jobs.job import Job
from mpidl.launch.jobs.script import script
from mpidl.launch.jobs.settings import JobSettings
from tests.launch.test_scripts import ROOT, executable

EARLY = "USR2, while the job gets ready"
# What a job calls; each leaves its words in a file.
NOTES = '#!/bin/sh\nprintf "%s " "$(basename "$0")" "$@" >>"$NOTES"; echo >>"$NOTES"\n'


def ended(
    tmp_path: Path, scheduler: str, told: signal.Signals | str | None, code: int, kind: str = "single-node", **more: str
) -> tuple[int, list[str]]:
    """The exit code of a job whose run ends with this code, once the job is told to, and what it has called.

    `more` are variables that its scheduler sets in this kind of job.
    """
    early = "os.kill(os.getppid(), signal.SIGUSR2)" if told == EARLY else ""
    run = executable(
        tmp_path / "bin" / "mpidl",
        f"#!{sys.executable}\nimport os, signal, sys, time\n"
        f"if sys.argv[1] == 'env':\n    {early}\n    sys.exit()\n"
        f"signal.signal(signal.SIGUSR2, lambda *_: sys.exit({code}))\n"
        f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('started', 'w').write(' '.join(sys.argv[1:]))\n"
        f"time.sleep({60 if told else 0})\nsys.exit({code})\n",
    )
    for name in ("scontrol", "qrerun"):
        executable(tmp_path / "bin" / name, NOTES)
    (tmp_path / "hosts").write_text("a\na\nb\nb\n")
    (tmp_path / "started").unlink(missing_ok=True)
    numbers = {
        "SLURM_JOB_ID": "7",
        "SLURM_NTASKS": "4",
        "PBS_JOBID": "7.head",
        "LSB_JOBID": "7",
        "LSB_DJOB_NUMPROC": "4",
    }
    places = {"PBS_NODEFILE": str(tmp_path / "hosts"), "PBS_O_WORKDIR": str(tmp_path), "NOTES": str(tmp_path / "notes")}
    environment = {"PATH": f"{run.parent}:/usr/bin:/bin", "CONFIG": "a/b.yaml", **numbers, **places, **more}
    ready = ROOT / "jobs" / f"{scheduler}-{kind}.sh"
    words = ["a/b.yaml", "-s", "c=[1, 2]"] if scheduler == "slurm" else []
    job = subprocess.Popen(["bash", str(ready), *words], env=environment, cwd=tmp_path, start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "started").exists() or not (tmp_path / "started").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if isinstance(told, signal.Signals):
            job.send_signal(told)
        ended_with = job.wait(30)
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
    notes = tmp_path / "notes"
    return ended_with, notes.read_text().splitlines() if notes.exists() else []


@pytest.mark.parametrize(
    ("scheduler", "requeued"), [("slurm", ["scontrol requeue 7 "]), ("pbs", ["qrerun 7.head "]), ("lsf", [])]
)
def test_a_job_that_is_told_to_stop_does_and_starts_again(scheduler: str, requeued: list[str], tmp_path: Path) -> None:
    assert ended(tmp_path, scheduler, signal.SIGUSR2, 75) == (75, requeued)
    more = {"slurm": " -s c=[1, 2]", "pbs": " -s train.walltime=1680", "lsf": ""}[scheduler]
    assert (tmp_path / "started").read_text() == f"run a/b.yaml -n 4 -o runs/b.h5 --resume{more}"


@pytest.mark.parametrize(
    ("scheduler", "variables", "requeued"),
    [
        (
            "slurm",
            # Of an array, the number of its last task is that of the array.
            {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "6"},
            ["scontrol requeue 7_6 "],
        ),
        ("pbs", {"PBS_JOBID": "7[6].head", "PBS_ARRAY_INDEX": "6"}, ["qrerun 7[6].head "]),
        ("lsf", {"LSB_JOBINDEX": "6"}, []),
    ],
)
def test_each_task_of_a_sweep_trains_its_own_run_and_starts_again_alone(
    scheduler: str, variables: dict[str, str], requeued: list[str], tmp_path: Path
) -> None:
    assert ended(tmp_path, scheduler, signal.SIGUSR2, 75, "sweep", **variables) == (75, requeued)
    own = "-s algorithm.lr=0.1 -s seed=3 -o runs/rates/lr=0.1_seed=3.h5"
    assert (tmp_path / "started").read_text().startswith(f"run a/b.yaml -n 4 {own} --resume")


@pytest.mark.parametrize(
    ("told", "code", "ends", "again"),
    [
        # Cancelled: the run stops, and that was it.
        (signal.SIGTERM, 75, 143, False),
        # As a shell has a process that the signal has ended, before it could listen.
        (signal.SIGUSR2, 140, 75, True),
        (EARLY, 75, 75, True),
        (signal.SIGUSR2, 5, 5, False),
        (None, 0, 0, False),
        (None, 3, 3, False),
        # By train.walltime.
        (None, 75, 75, True),
    ],
)
def test_only_a_job_that_can_go_on_starts_again(
    told: signal.Signals | str | None, code: int, ends: int, again: bool, tmp_path: Path
) -> None:
    assert ended(tmp_path, "slurm", told, code) == (ends, ["scontrol requeue 7 "] if again else [])


@pytest.mark.parametrize(
    ("scheduler", "starts"), [("slurm", "srun"), ("pbs", "pbs_tmrsh"), ("lsf", "blaunch")], ids=["slurm", "pbs", "lsf"]
)
def test_ranks_share_gpus_by_mps_where_these_are_of_nvidia_and_without_it_elsewhere(
    scheduler: str, starts: str, tmp_path: Path
) -> None:
    asked = validate(JobSettings, {"gpus_per_node": 2, "ranks": 4})
    job = Job("mpidl", asked, 4, 1, "USR2", "mpidl")
    (tmp_path / "job.sh").write_text(script(scheduler, job))
    (tmp_path / "hosts").write_text("a\na\na\na\n")
    tools = tmp_path / "bin"
    executable(
        tools / "mpidl",
        f"#!{sys.executable}\nimport os, sys\n"
        "if sys.argv[1] == 'run':\n    print(os.environ.get('CUDA_MPS_PIPE_DIRECTORY'))\n    sys.exit(3)\n",
    )
    executable(tools / starts, NOTES)
    executable(tools / "sleep", "#!/bin/sh\n")
    numbers = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_JOB_NUM_NODES": "1", "PBS_JOBID": "7", "LSB_JOBID": "7"}
    hosts = dict.fromkeys(("PBS_NODEFILE", "LSB_DJOB_HOSTFILE"), str(tmp_path / "hosts")) | {"LSB_DJOB_NUMPROC": "4"}
    places = {"PBS_O_WORKDIR": str(tmp_path), "NOTES": str(tmp_path / "notes"), "CONFIG": "a.yaml"}
    environment = {"PATH": f"{tools}:/usr/bin:/bin", **numbers, **hosts, **places}
    for there in (False, True):
        if there:
            executable(tools / "nvidia-cuda-mps-control", "#!/bin/sh\n")
        done = subprocess.run(
            ["bash", "job.sh", "a.yaml"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=30
        )
        assert (done.returncode, done.stderr) == (3, "")
        assert done.stdout.startswith("/tmp/mps-") == there
        deadline = time.monotonic() + (10 if there else 0)
        while not (tmp_path / "notes").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (tmp_path / "notes").exists() == there
