"""In a job each rank is bound to cores of its own, in its launcher's words; elsewhere none is, and who waits yields."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpidl.launch import binding
from mpidl.launch.binding import Room
from mpidl.launch.surroundings import nodes, task_cores

YIELD = "--bind-to none --mca mpi_yield_when_idle 1"
# Two packages of 8 cores on each of two hosts.
JOB = Room(32, in_job=True, packages=(8, 8))
GIVEN = Room(32, in_job=True, each=4, packages=(8, 8))


@pytest.mark.parametrize(
    ("room", "ranks", "five", "four"),
    [
        (Room(32), 2, f":OVERSUBSCRIBE {YIELD}", YIELD),
        (JOB, 33, f"slot:OVERSUBSCRIBE {YIELD}", f"--map-by slot {YIELD}"),
        (GIVEN, 9, f"slot:OVERSUBSCRIBE {YIELD}", f"--map-by slot {YIELD}"),
        (
            JOB,
            32,
            "slot:OVERSUBSCRIBE --bind-to core:overload-allowed",
            "--map-by slot --bind-to core:overload-allowed",
        ),
        (JOB, 8, "slot:PE=4:OVERSUBSCRIBE --bind-to core", "--map-by slot:PE=4 --bind-to core"),
        (GIVEN, 8, "slot:PE=4:OVERSUBSCRIBE --bind-to core", "--map-by slot:PE=4 --bind-to core"),
        # Of three ranks one would have cores of both packages, which it refuses.
        (JOB, 6, "slot:OVERSUBSCRIBE --bind-to none", "--map-by slot --bind-to none"),
    ],
    ids=["outside", "too many", "too few for each", "a core each", "shared out", "as asked for", "across packages"],
)
def test_open_mpi_binds_ranks_to_as_many_cores_as_they_have(room: Room, ranks: int, five: str, four: str) -> None:
    assert " ".join(room.openmpi(ranks, 5)) == f"--map-by {five}"
    assert " ".join(room.openmpi(ranks, 4)) == f"--oversubscribe {four}"


def test_hydra_and_intel_mpi_bind_in_a_job_alone() -> None:
    assert Room(32).hydra(4) == [] and JOB.hydra(33) == [] and GIVEN.hydra(4) == ["-bind-to", "core:4"]
    off = ["-genv", "I_MPI_PIN", "off"]
    assert Room(32).intel(4, {}) == off and JOB.intel(33, {}) == off
    assert JOB.intel(4, {}) == ["-genv", "I_MPI_PIN_DOMAIN", "8"]
    assert JOB.intel(4, {"I_MPI_PIN_PROCESSOR_LIST": "0-3"}) == []


def test_srun_is_told_how_many_cores_a_task_has() -> None:
    assert GIVEN.srun(8) == ["--cpus-per-task=4"] and JOB.srun(8) == [] and GIVEN.srun(9) == ["--overcommit"]


def test_hyperthreads_are_no_cores_to_those_who_count_cores() -> None:
    room = Room(32, in_job=True, each=4, threads=2, packages=(8, 8))
    assert room.hydra(8) == ["-bind-to", "core:2"] and room.intel(8, {}) == ["-genv", "I_MPI_PIN_DOMAIN", "4"]
    assert room.openmpi(8, 5) == ["--map-by", "slot:PE=2:OVERSUBSCRIBE", "--bind-to", "core"]


def test_the_room_of_a_job_is_that_of_its_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "cores", lambda: 8)
    monkeypatch.setattr(binding, "packages", lambda: [2, 2])
    hosts = tmp_path / "hosts"
    hosts.write_text("a\na\nb\n")
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "3", "SLURM_JOB_CPUS_PER_NODE": "4(x3)"}
    for environment, count, cores, each in (
        ({}, 1, 8, None),
        (slurm, 3, 12, None),
        ({**slurm, "SLURM_CPUS_PER_TASK": "2"}, 3, 12, 2),
        ({"PBS_JOBID": "7", "PBS_NODEFILE": str(hosts)}, 2, 16, None),
        ({"LSB_JOBID": "7", "LSB_DJOB_HOSTFILE": str(hosts)}, 2, 16, None),
        ({"PBS_JOBID": "7", "SLURM_CPUS_PER_TASK": "2"}, 1, 8, None),
    ):
        room = Room.here(environment)
        assert (nodes(environment), room.cores, room.in_job, room.threads) == (count, cores, bool(environment), 2)
        assert (task_cores(environment), room.each) == (each, each)


def test_the_packages_of_this_machine_hold_no_more_cores_than_it_counts() -> None:
    assert 0 <= sum(binding.packages()) <= binding.cores()
