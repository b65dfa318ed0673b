"""What the launcher of this process says about it, before MPI starts. No MPI here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mpidl.errors import LaunchError


@dataclass(frozen=True)
class LauncherVariables:
    """The variables in which a launcher tells each process its rank, the number of ranks, and both on its host.

    `local_sizes` may be () where a launcher does not say how many ranks share a host. It is this launcher only where
    `present` are set, and `absent` are not.
    """

    name: str
    ranks: tuple[str, ...]
    sizes: tuple[str, ...]
    local_ranks: tuple[str, ...]
    local_sizes: tuple[str, ...]
    cure: str
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


# The first whose rank is set counts. mpirun inside a Slurm or PALS job inherits the variables of the outer job, so that
# launchers which run inside others come first. srun is recognised by its step alone: a batch script, where mpidl itself
# is the launcher, has SLURM_PROCID and SLURM_NTASKS too.
LAUNCHERS = (
    LauncherVariables(
        name="mpirun of Open MPI",
        ranks=("OMPI_COMM_WORLD_RANK",),
        sizes=("OMPI_COMM_WORLD_SIZE",),
        local_ranks=("OMPI_COMM_WORLD_LOCAL_RANK",),
        local_sizes=("OMPI_COMM_WORLD_LOCAL_SIZE",),
        cure="mpi4py runs on another MPI: start with the mpirun of that one, or install mpi4py for Open MPI",
    ),
    LauncherVariables(
        name="JSM",
        ranks=("JSM_NAMESPACE_RANK",),
        sizes=("JSM_NAMESPACE_SIZE",),
        local_ranks=("JSM_NAMESPACE_LOCAL_RANK",),
        local_sizes=("JSM_NAMESPACE_LOCAL_SIZE",),
        cure="mpi4py does not run on the MPI of jsrun: load the cluster's MPI and build mpi4py on it",
    ),
    LauncherVariables(
        name="PALS",
        ranks=("PALS_RANKID",),
        sizes=("PALS_NRANKS", "PMI_SIZE"),
        local_ranks=("PALS_LOCAL_RANKID", "PMI_LOCAL_RANK"),
        local_sizes=("PALS_LOCAL_SIZE", "PMI_LOCAL_SIZE"),
        cure="mpi4py does not run on the cluster's MPI: build it on cray-mpich, or load the module that has it",
    ),
    LauncherVariables(
        # It sets PMI's variables as Hydra does, which in a Slurm job starts its own helpers by srun.
        name="srun --mpi=pmi2",
        ranks=("SLURM_PROCID",),
        sizes=("SLURM_STEP_NUM_TASKS",),
        local_ranks=("SLURM_LOCALID",),
        local_sizes=(),
        cure="mpi4py runs on an MPI that does not know PMI2, as Open MPI: start with `srun --mpi=pmix`, where "
        "`srun --mpi=list` has that, or with mpirun",
        present=("PMI_RANK", "PMI_SIZE"),
        absent=("MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK", "PMI_HOSTNAME"),
    ),
    LauncherVariables(
        name="Hydra (MPICH, Intel MPI, MVAPICH)",
        ranks=("PMI_RANK",),
        sizes=("PMI_SIZE",),
        local_ranks=("MPI_LOCALRANKID", "PMI_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK"),
        local_sizes=("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE"),
        cure="mpi4py runs on another MPI: start with the mpiexec of that one, or install mpi4py for MPICH",
    ),
    LauncherVariables(
        name="srun",
        ranks=("SLURM_PROCID",),
        sizes=("SLURM_STEP_NUM_TASKS",),
        local_ranks=("SLURM_LOCALID",),
        local_sizes=(),
        cure="start with `srun --mpi=pmix` or `--mpi=pmi2` (`srun --mpi=list` shows which there are), or use mpirun",
    ),
)


@dataclass(frozen=True)
class Place:
    """Where the launcher put this process; `launcher` is None where nothing launched it."""

    launcher: LauncherVariables | None
    rank: int
    size: int
    local_rank: int
    local_size: int | None


ALONE = Place(launcher=None, rank=0, size=1, local_rank=0, local_size=1)


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    return next((int(environment[name]) for name in names if environment.get(name, "").isdigit()), None)


def _fits(launcher: LauncherVariables, environment: Mapping[str, str]) -> bool:
    return environment.keys() >= set(launcher.present) and not environment.keys() & set(launcher.absent)


def _slurm_local_size(environment: Mapping[str, str], size: int) -> int | None:
    """Ranks on this host from a step's list such as `4(x2),3`: two nodes of 4 ranks, then one of 3."""
    node = _first(environment, ("SLURM_NODEID",))
    counts: list[int] = []
    for entry in environment.get("SLURM_STEP_TASKS_PER_NODE", "").split(","):
        tasks, _, repeated = entry.partition("(x")
        repeat = repeated.removesuffix(")") or "1"
        if not (tasks.isdigit() and repeat.isdigit()):
            return None
        counts += [int(tasks)] * int(repeat)
    return counts[node] if node is not None and node < len(counts) and sum(counts) == size else None


def find(environment: Mapping[str, str]) -> Place:
    """The place that the innermost launcher gave this process."""
    for launcher in LAUNCHERS:
        rank, size = _first(environment, launcher.ranks), _first(environment, launcher.sizes)
        if rank is None or size is None or not _fits(launcher, environment):
            continue
        local_rank = _first(environment, launcher.local_ranks)
        local_size = _first(environment, launcher.local_sizes)
        if local_rank is None:
            # Without it nothing is known but that ranks are usually dealt out in order.
            local_rank = rank % local_size if local_size else rank
        if launcher.name.startswith("srun"):
            local_size = _slurm_local_size(environment, size)
        return Place(launcher, rank, size, local_rank, local_size)
    return ALONE


def refuse_unknown_pmix(place: Place, library: str, environment: Mapping[str, str]) -> None:
    """Raises where processes are to find each other by PMIx, and this MPI says that it was built without.

    MPICH ends a process then as it starts. `library` is all that it says of itself; others do not say how they were
    built.
    """
    by_pmix = "PMIX_NAMESPACE" in environment and "PMI_RANK" not in environment
    without = library.startswith("MPICH Version") and "pmix" not in library.lower()
    if place.launcher is not None and place.size > 1 and by_pmix and without:
        title = " ".join(library.partition("\n")[0].split())
        raise LaunchError(
            f"{place.launcher.name} started {place.size} processes that are to find each other by PMIx, which MPI "
            f"({title}) does not know; {place.launcher.cure}"
        )


def refuse_solo(place: Place, world_size: int, library: str) -> None:
    """Raises where the launcher started several processes and MPI knows of one: each would train alone, in silence."""
    if place.launcher is not None and place.size > 1 and world_size == 1:
        raise LaunchError(
            f"{place.launcher.name} started {place.size} processes, but MPI ({library}) sees only one of them; "
            f"{place.launcher.cure}"
        )
