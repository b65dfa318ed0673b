"""The flags that make a launcher start any number of ranks, as anybody, on any machine."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mpidl.errors import ConfigError
from mpidl.launch.binding import Room
from mpidl.launch.command import launch_command, rank_environment
from mpidl.launch.launcher import Launcher
from mpidl.launch.received import received_configuration
from mpidl.launch.surroundings import cores, is_rank, ranks_around, scheduler

# One task of `srun --mpi=pmi2`.
SHELL = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_ID": "7", "PMI_RANK": "0", "PMI_SIZE": "1"}
IN_JOB, OUTSIDE = Room(4, in_job=True), Room(4)


def command(kind: str, ranks: int, major: int = 5, **changed: Any) -> str:
    settings: dict[str, Any] = {"room": OUTSIDE, "environment": {}, "as_root": False} | changed
    launcher = Launcher("RUN", kind, major, plugin="pmi2", hosts=settings.pop("hosts", None))
    return " ".join(launch_command(launcher, ranks, ["prog", "x y"], **settings))


def test_root_is_allowed_only_to_root() -> None:
    assert "--allow-run-as-root" in command("openmpi", 2, as_root=True)
    assert "--allow-run-as-root" not in command("openmpi", 2)


@pytest.mark.parametrize(("kind", "outliving", "there"), [("openmpi", True, True), ("openmpi", False, False)])
def test_open_mpi_is_told_where_ranks_outlive_others(kind: str, outliving: bool, there: bool) -> None:
    assert ("--with-ft ulfm" in command(kind, 3, outliving=outliving)) == there


def test_an_allocation_of_several_hosts_gets_the_environment() -> None:
    given = {"MPIDL_LAUNCHED": "1", "OMP_NUM_THREADS": "1", "OTHER": "2"}
    assert "-x MPIDL_LAUNCHED -x OMP_NUM_THREADS -n" in command("openmpi", 2, room=IN_JOB, environment=given)


def test_a_progress_bar_is_passed_on_as_it_grows() -> None:
    assert "--stream-buffering 0" in command("openmpi", 2, environment={"MPIDL_TERMINAL": "80"})
    assert "--stream-buffering" not in command("openmpi", 2)


def test_srun_ends_all_ranks_with_the_first_that_fails() -> None:
    assert command("srun", 3) == "RUN --mpi=pmi2 --kill-on-bad-exit=1 -n 3 prog x y"


def test_ranks_are_told_what_they_cannot_see() -> None:
    base = {"PATH": "/bin", "HOME": "/h", "MPIDL_TERMINAL": "10", "MPIDL_OUTPUT": "10", "MPIDL_FAILURE_FILE": "/stale"}
    plain = {"PATH": "/bin", "HOME": "/h", "MPIDL_LAUNCHED": "1", "OMP_NUM_THREADS": "1"}
    assert rank_environment(base) == plain
    told = rank_environment(
        {"HOME": "/h", "OMP_NUM_THREADS": "4"}, failure_file=Path("/tmp/f"), terminal=120, output=90
    )
    assert told == {
        "HOME": "/h",
        "MPIDL_LAUNCHED": "1",
        "OMP_NUM_THREADS": "4",
        "MPIDL_TERMINAL": "120",
        "MPIDL_OUTPUT": "90",
        "MPIDL_FAILURE_FILE": "/tmp/f",
    }


def test_ranks_have_a_home_though_nobody_says_where() -> None:
    assert Path(rank_environment({})["HOME"]).is_absolute()
    assert rank_environment({"HOME": ""})["HOME"] == ""


def test_ranks_find_the_mpidl_that_only_the_current_folder_had(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(__file__).resolve().parents[2])
    monkeypatch.setattr(sys, "path", ["/script's own", root])
    assert "PYTHONPATH" not in rank_environment({})
    monkeypatch.setattr(sys, "path", [root, "/lib"])
    assert rank_environment({})["PYTHONPATH"] == root
    assert rank_environment({"PYTHONPATH": "/more"})["PYTHONPATH"] == f"{root}:/more"


@pytest.mark.parametrize(
    ("environment", "rank", "size"),
    [
        ({}, False, None),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"}, True, 4),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, True, 2),
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "7"}, True, 4),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"}, False, None),
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_ID": "7"}, False, None),
        (SHELL, False, None),
        ({"MPIDL_LAUNCHED": "1"}, True, None),
    ],
    ids=["login", "openmpi", "hydra", "srun", "batch script", "interactive shell", "the same with PMI2", "our own"],
)
def test_a_process_knows_whether_it_is_a_rank(environment: dict[str, str], rank: bool, size: int | None) -> None:
    assert is_rank(environment) is rank
    assert ranks_around(environment) == size


def test_the_scheduler_is_named_with_its_job() -> None:
    assert scheduler({"PBS_JOBID": "12.host"}) == "PBS job 12.host"
    assert scheduler({}) is None


def test_there_is_a_core() -> None:
    assert cores() >= 1


def test_a_configuration_reaches_the_ranks_and_nothing_that_they_start() -> None:
    text = '{"seed": 1, "name": "naïve – größer"}'
    environment = rank_environment({"MPIDL_CONFIGURATION": "stale"}, configuration=text)
    assert environment["MPIDL_CONFIGURATION"].isascii()
    assert "-x MPIDL_CONFIGURATION -x" in command("openmpi", 2, room=IN_JOB, environment=environment)
    assert received_configuration(environment) == text
    assert received_configuration(environment) is None and "MPIDL_CONFIGURATION" not in environment
    assert "MPIDL_CONFIGURATION" not in rank_environment({"MPIDL_CONFIGURATION": "stale"})


def test_a_configuration_is_handed_over_as_far_as_the_system_can() -> None:
    rng = random.Random(1)
    large = json.dumps([rng.randbytes(8).hex() for _ in range(9_300)])
    environment = rank_environment(configuration=large)
    process = subprocess.run(["env"], env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert environment["MPIDL_CONFIGURATION"] in process.stdout
    with pytest.raises(ConfigError, match="the configuration takes [0-9]+ bytes, packed, .* into a file of its own"):
        rank_environment(configuration=large + large[::-1])
