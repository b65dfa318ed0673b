"""`mpidl sweep --submit`: one job with a task for each run that is missing; schedulers are stand-ins."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mpidl.cli.main import commands
from mpidl.errors import ConfigError, LaunchError
from mpidl.experiment.sweep.axes import read
from mpidl.experiment.sweep.members import members
from mpidl.launch.jobs.schedulers import SCHEDULERS
from tests.experiment.test_sweep import writing, written
from tests.launch.test_jobs import directives
from tests.launch.test_scripts import bash, executable

SWEPT = ["-s", "algorithm.lr=0.1,0.2", "-s", "model={name: mlp, hidden: [8]},logistic", "-n", "4"]


def swept(*words: str) -> Result:
    """How `mpidl sweep --submit` answers."""
    words = ("sweep", "small.yaml", *words, "--submit")
    return CliRunner().invoke(commands, words, catch_exceptions=False, standalone_mode=False)


def script(*words: str) -> str:
    """The script that it prints."""
    result = swept(*SWEPT, *words, "--dry-run")
    assert bash("-n", "-c", result.stdout).stderr == ""
    return result.stdout


@pytest.mark.parametrize(
    ("scheduler", "mark", "expected"),
    [
        ("slurm", "SBATCH", ["--array=1-4%3", "--output=out/small-%A_%a.log", "--ntasks=4"]),
        ("pbs", "PBS", ["-J 1-4", "-W max_run_subjobs=3", "-o out/small.^array_index^.log", "-r y"]),
        ("lsf", "BSUB", ['-J "small[1-4]%3"', "-o out/small.%J.%I.log", "-Q 75"]),
    ],
)
def test_a_sweep_is_one_array_with_a_task_for_each_run(
    scheduler: str, mark: str, expected: list[str], here: Path
) -> None:
    text = script("--scheduler", scheduler, "-o", "out", "--at-once", "3", "-s", "train.rounds=8")
    assert set(expected) <= set(directives(text, mark))
    # What is given to all runs after a key that is swept could replace parts of it, and stays behind it.
    assert "2) own=(-s algorithm.lr=0.1 -s model=logistic -s train.rounds=8 -o out/lr=0.1_model=logistic.h5) ;;" in text
    assert ' run small.yaml -n 4 --resume "${own[@]}")' in text
    assert "%3" not in script("--scheduler", scheduler, "-o", "out")


@pytest.mark.parametrize(("scheduler", "there"), [("slurm", True), ("pbs", False), ("lsf", True)])
def test_a_single_run_is_an_array_only_where_that_can_be(scheduler: str, there: bool, here: Path) -> None:
    result = swept("-s", "seed=3", "-n", "2", "--scheduler", scheduler, "--dry-run")
    assert any(words in result.stdout for words in ("--array=1-1", "-J 1-1", "[1-1]")) == there
    assert "1) own=(-o runs/small/small-s3.h5) ;;" in result.stdout
    assert "run small.yaml -s seed=3 -n 2 --resume" in result.stdout


def test_what_is_over_is_shown_and_not_submitted_again(here: Path) -> None:
    executable(here / "bin" / "sbatch", "#!/bin/sh\n/bin/cat >script\necho 17\n")
    executable(
        here / "bin" / "squeue", "#!/bin/sh\necho 'slurm_load_jobs error: Invalid job id specified' >&2\nexit 1\n"
    )
    axes = read(["agents=4", "seed=1:3"])
    finished, diverged, _ = members(Path("small.yaml"), axes, Path("out"), lambda config: 2)
    words = ["-s", "agents=4", "-s", "seed=1:3", "-n", "2", "-o", "out"]
    first = swept(*words)
    assert (first.stdout, "3 runs submitted as Slurm job 17; squeue -j 17\n" in first.stderr) == ("17\n", True)
    written(finished, 4, "finished")
    written(diverged, 2, "diverged")
    again = swept(*words)
    assert "1 waiting, 1 finished, 1 diverged; results in out\n1 run submitted" in again.stderr, again.stderr
    script = (here / "script").read_text()
    assert "--array=1-1\n" in script and "1) own=(-s seed=3 -o out/seed=3.h5) ;;" in script
    written(members(Path("small.yaml"), axes, Path("out"), lambda config: 2)[2], 4, "finished")
    last = swept(*words)
    assert last.stdout == "" and last.return_value == 3
    assert last.stderr.endswith("2 finished, 1 diverged; results in out\n")


QUEUES = {
    # As their documents have it; of a job that is no array, PBS has a line without brackets.
    "slurm": ("squeue", "17", "2 PENDING\n3 RUNNING\n1 COMPLETED\n", "slurm_load_jobs error: Invalid job id specified"),
    "pbs": (
        "qstat",
        "17[].head",
        "Job id    Name   User  Time Use S Queue\n--------  -----  ----  -------- - -----\n"
        "17[].head small  me           0 B workq\n17[1].head small  me    00:00:01 X workq\n"
        "17[2].head small  me          0 Q workq\n17[3].head small  me   00:00:01 R workq\n",
        "qstat: Unknown Job Id 17[].head",
    ),
    "lsf": ("bjobs", "17", "1          DONE\n2          PEND\n3          RUN\n", "Job <17> is not found"),
}


@pytest.mark.parametrize("scheduler", QUEUES)
def test_what_a_job_still_has_is_told_and_not_submitted_again(scheduler: str, here: Path) -> None:
    program, job, queue, forgotten = QUEUES[scheduler]
    for name in ("sbatch", "qsub", "bsub"):
        executable(
            here / "bin" / name,
            f"#!/bin/sh\n/bin/cat >script\necho '{'Job <17> is submitted' if name == 'bsub' else job}'\n",
        )
    executable(here / "bin" / program, "#!/bin/sh\n/bin/cat queue\n")
    words = ["-s", "agents=4", "-s", "seed=1:4", "-n", "2", "-o", "out", "--scheduler", scheduler]
    assert swept(*words).stdout == f"{job}\n"
    (here / "queue").write_text(queue)
    (here / "script").unlink()
    runs = members(Path("small.yaml"), read(["agents=4", "seed=1:4"]), Path("out"), lambda config: 2)
    written(runs[0], 4, "finished")
    # The second says that it goes on; the fourth was lost.
    with writing(runs[1]), writing(runs[3]):
        again = swept(*words)
    label = SCHEDULERS[scheduler].label
    assert "1 submitted, 1 half done, 1 running, 1 finished; results in out\n" in again.stderr, again.stderr
    assert f"2 runs are in {label} job {job}, which goes on; {program} " in again.stderr
    assert (
        "1 run submitted as " in again.stderr
        and "1) own=(-s seed=4 -o out/seed=4.h5) ;;" in (here / "script").read_text()
    )
    # Both jobs have the same number here, so that the fourth is that which is over.
    (here / "script").unlink()
    executable(here / "bin" / program, f"#!/bin/sh\necho '{forgotten}' >&2\nexit 1\n")
    last = swept(*words)
    assert "3 runs submitted" in last.stderr and "which goes on" not in last.stderr, last.stderr


def test_a_sweep_that_is_all_in_work_is_left_alone_and_a_silent_scheduler_is_no_news(here: Path) -> None:
    executable(here / "bin" / "sbatch", "#!/bin/sh\necho 17\n")
    executable(here / "bin" / "squeue", "#!/bin/sh\necho 1 PENDING; echo 2 PENDING\n")
    words = ["-s", "agents=4", "-s", "seed=1:2", "-n", "2", "-o", "out"]
    swept(*words)
    again = swept(*words)
    assert (again.stdout, again.return_value) == ("", 0)
    assert again.stderr.endswith(
        "2 submitted; results in out\n2 runs are in Slurm job 17, which goes on; squeue -j 17\n"
    )
    executable(here / "bin" / "squeue", "#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    with pytest.raises(LaunchError, match="^squeue does not tell what has become of job 17: Unable to contact slurm"):
        swept(*words)
    (here / "out" / "submitted.json").write_text('[{"name": "slurm"}]')
    with pytest.raises(
        ConfigError, match="submitted.json' does not say which jobs the sweep has; remove it, once none"
    ):
        swept(*words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-s", "seed=1:2"], "-n: is missing: how many ranks the job has"),
        (["-s", "agents=2,4", "--gpus-per-node", "4"], "-n: is missing: the runs would have 2 or 4 ranks, and"),
        (["-s", "checkpoint.signal=USR1,USR2", "-n", "2"], "checkpoint.signal: takes one value in a job"),
        (["-s", "train.walltime=1 h,2 h", "-n", "2"], "train.walltime: takes one value in a job"),
        (["-s", "seed=1:2", "-n", "2", "-t", "10"], "--time: '10' is no time"),
        (["-s", "seed=1:2", "-n", "2", "-o", "out.h5"], "-o: 'out.h5' is no folder"),
        (["-s", "seed=1:2", "-n", "2"], "there is no sbatch on PATH"),
    ],
)
def test_each_mistake_is_answered_in_a_sentence(words: list[str], sentence: str, here: Path) -> None:
    with pytest.raises((ConfigError, LaunchError)) as error:
        swept(*words, "--scheduler", "slurm")
    assert sentence in str(error.value)


def test_what_a_job_asks_for_needs_a_job(here: Path) -> None:
    words = ["sweep", "small.yaml", "-s", "seed=1:2", "-p", "gpu"]
    with pytest.raises(ConfigError, match="^--partition: is for a job; say --submit as well"):
        CliRunner().invoke(commands, words, catch_exceptions=False)


def test_an_array_that_is_too_long_is_refused_with_the_cure(here: Path) -> None:
    words = "sbatch: error: Batch job submission failed: Invalid job array specification"
    executable(here / "bin" / "sbatch", f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    with pytest.raises(LaunchError, match="an array has no more tasks than the site allows: sweep fewer values"):
        swept("-s", "seed=1:3", "-n", "2")
