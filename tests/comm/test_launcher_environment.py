"""Every launcher's variables are understood, the innermost launcher counts, and silent solo runs are refused."""

from __future__ import annotations

import pytest

from mpidl.comm.start.launchers import ALONE, find, refuse_solo, refuse_unknown_pmix
from mpidl.errors import LaunchError

BATCH_SCRIPT = {
    "SLURM_JOB_ID": "7",
    "SLURM_PROCID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}
STEP = {**BATCH_SCRIPT, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "7", "SLURM_STEP_TASKS_PER_NODE": "3(x2),1"}
PMI2 = {**STEP, "PMI_RANK": "0", "PMI_SIZE": "7", "PMI_FD": "11"}
# Its helpers are started by srun, one on each of the nodes.
HYDRA = {**STEP, "SLURM_STEP_NUM_TASKS": "2", "PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (OPEN_MPI, (5, 8, 1, 4)),
        ({"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}, (3, 4, 1, 2)),
        ({"PMI_RANK": "3", "PMI_SIZE": "4", "PMI_LOCAL_RANK": "1", "PMI_LOCAL_SIZE": "2"}, (3, 4, 1, 2)),
        ({"PMI_RANK": "3", "PMI_SIZE": "4"}, (3, 4, 3, None)),
        ({"PALS_RANKID": "9", "PMI_SIZE": "16", "PALS_LOCAL_RANKID": "1", "PALS_LOCAL_SIZE": "8"}, (9, 16, 1, 8)),
        (
            {
                "JSM_NAMESPACE_RANK": "7",
                "JSM_NAMESPACE_SIZE": "12",
                "JSM_NAMESPACE_LOCAL_RANK": "1",
                "JSM_NAMESPACE_LOCAL_SIZE": "6",
            },
            (7, 12, 1, 6),
        ),
        ({**STEP, "SLURM_PROCID": "4", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}, (4, 7, 1, 3)),
        ({**STEP, "SLURM_PROCID": "6", "SLURM_LOCALID": "0", "SLURM_NODEID": "2"}, (6, 7, 0, 1)),
        ({**PMI2, "SLURM_PROCID": "4", "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "PMI_RANK": "4"}, (4, 7, 1, 3)),
        ({**HYDRA, "MPI_LOCALNRANKS": "2"}, (3, 4, 1, 2)),
        ({**STEP, "SLURM_STEP_TASKS_PER_NODE": "?"}, (0, 7, 0, None)),
        ({**STEP, "SLURM_NODEID": "3"}, (0, 7, 0, None)),
    ],
)
def test_a_launchers_variables_are_read(environment, expected):
    place = find(environment)
    assert (place.rank, place.size, place.local_rank, place.local_size) == expected


def test_mpirun_inside_a_scheduler_step_counts_and_not_the_step():
    assert find({**STEP, **OPEN_MPI}).size == 8


def test_nothing_or_a_batch_script_is_no_launcher():
    assert find({}) is ALONE
    assert find(BATCH_SCRIPT) is ALONE


@pytest.mark.parametrize(
    ("environment", "cure"),
    [
        (STEP, "srun --mpi=pmix"),
        (OPEN_MPI, "another MPI"),
        (PMI2, "does not know PMI2, as Open MPI: start with `srun --mpi=pmix`"),
        (HYDRA, "start with the mpiexec of that one"),
    ],
)
def test_a_world_of_one_where_the_launcher_started_more_is_refused_with_the_cure(environment, cure):
    with pytest.raises(LaunchError, match=f"started {find(environment).size} processes.*only one.*{cure}"):
        refuse_solo(find(environment), 1, "Some MPI 4.0")


def test_a_world_of_one_that_was_asked_for_is_accepted():
    def refused(environment: dict[str, str], world_size: int) -> bool:
        try:
            refuse_solo(find(environment), world_size, "Some MPI 4.0")
        except LaunchError:
            return True
        return False

    assert not refused({}, 1)
    assert not refused({**OPEN_MPI, "OMPI_COMM_WORLD_SIZE": "1"}, 1) and refused(OPEN_MPI, 1)
    assert not refused(STEP, 7) and refused(STEP, 1)


@pytest.mark.parametrize(
    ("environment", "library", "refused"),
    [
        (OPEN_MPI, "MPICH Version:      5.0.2\nMPICH configure:    --with-pm=hydra", True),
        (STEP, "MPICH Version:      5.0.2\nMPICH configure:    --with-pm=hydra", True),
        (HYDRA, "MPICH Version:      5.0.2\nMPICH configure:    --with-pm=hydra", False),
        (STEP, "MPICH Version:      4.0.2\nMPICH configure:    --with-pmix=/usr", False),
        (OPEN_MPI, "Open MPI v5.0.11, package: Open MPI", False),
        ({}, "MPICH Version:      5.0.2\nMPICH configure:    --with-pm=hydra", False),
    ],
)
def test_an_mpi_that_would_end_for_want_of_pmix_is_refused_before_it_starts(environment, library, refused):
    around = {**environment, "PMIX_NAMESPACE": "prterun-1"}
    place = find(around)
    if refused:
        with pytest.raises(LaunchError, match=r"by PMIx, which MPI \(MPICH Version: 5.0.2\) does not know; \w+"):
            refuse_unknown_pmix(place, library, around)
        refuse_unknown_pmix(place, library, environment)
    else:
        refuse_unknown_pmix(place, library, around)
