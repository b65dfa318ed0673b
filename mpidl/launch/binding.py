"""How many cores there are for ranks, and in the words of each launcher, which of them each rank is bound to.

In a job, ranks share its cores out among them, as many each as the scheduler says or as there are, so that the threads
of a rank stay beside each other and away from other ranks'. Outside of one nothing is bound: two runs at once would
both be bound to core 0, and other programs want cores as well.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpidl.launch.surroundings import cores, job_cores, nodes, scheduler, task_cores

_PROCESSORS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Room:
    """The cores of all hosts together, as the system counts them, and whether a job has them for itself.

    `each`: how many the scheduler gives each rank, where it says so. `threads`: how many of them are one whole core,
    where there are hyperthreads, and `packages`: the whole cores of each processor package of this host.
    """

    cores: int
    in_job: bool = False
    each: int | None = None
    threads: int = 1
    packages: Sequence[int] = ()

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Room:
        """That of the job around, or of this machine; all hosts are taken to be like this one."""
        in_job = scheduler(environment) is not None
        places, whole = nodes(environment) * cores(), packages()
        there = min(places, job_cores(environment) or places)
        return cls(there, in_job, task_cores(environment), max(1, cores() // (sum(whole) or cores())), whole)

    def of_rank(self, ranks: int) -> int:
        """How many cores each rank is bound to; 0 where none is bound."""
        return (self.each or self.cores // ranks) if self.in_job and not self._crowded(ranks) else 0

    def openmpi(self, ranks: int, major: int) -> list[str]:
        """For mpirun of Open MPI.

        It counts whole cores as slots and would refuse hyperthreads, so that more ranks than slots are allowed even
        where they fit. Which number is sensible was decided before.
        """
        # By default it takes the first host for all ranks that are bound, whatever their job gives each host.
        policy, binding = "slot" if self.in_job else "", ["--bind-to", "none"]
        bound = self.of_rank(ranks)
        whole = self._whole(bound)
        if not bound:
            # A waiting rank that spins would take a core from the rank that it waits for.
            binding += ["--mca", "mpi_yield_when_idle", "1"]
        elif whole == 1:
            binding = ["--bind-to", "core:overload-allowed"]
        elif self.packages and not any(package % whole for package in self.packages):
            # It refuses to start a rank whose cores would be of two packages.
            policy, binding = f"slot:PE={whole}", ["--bind-to", "core"]
        if major >= 5:
            return ["--map-by", f"{policy}:OVERSUBSCRIBE", *binding]
        return ["--oversubscribe", *(["--map-by", policy] if policy else []), *binding]

    def hydra(self, ranks: int) -> list[str]:
        """For mpiexec of MPICH, which binds nothing unless it is told to, and starts any number of ranks."""
        bound = self.of_rank(ranks)
        return ["-bind-to", f"core:{self._whole(bound)}"] if bound else []

    def intel(self, ranks: int, environment: Mapping[str, str]) -> list[str]:
        """For mpiexec of Intel MPI, which binds unless it is told not to; what a person has set stays so."""
        if any(name.startswith("I_MPI_PIN") for name in environment):
            return []
        bound = self.of_rank(ranks)
        return ["-genv", "I_MPI_PIN_DOMAIN", str(bound)] if bound else ["-genv", "I_MPI_PIN", "off"]

    def srun(self, ranks: int) -> list[str]:
        """For srun, which binds as the site has it, and does not ask the job how many cores a task has."""
        if self._crowded(ranks):
            return ["--overcommit"]
        return [] if self.each is None else [f"--cpus-per-task={self.each}"]

    def _crowded(self, ranks: int) -> bool:
        """Whether ranks must take turns."""
        return ranks * (self.each or 1) > self.cores

    def _whole(self, bound: int) -> int:
        """So many cores as whole ones."""
        return max(1, bound // self.threads)


def packages() -> list[int]:
    """How many whole cores of each processor package this process may use; empty where the system does not say."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    try:
        for number in os.sched_getaffinity(0):
            place = _PROCESSORS / f"cpu{number}" / "topology"
            package, core = ((place / name).read_text().strip() for name in ("physical_package_id", "core_id"))
            found[package].add(core)
    except (OSError, AttributeError):
        # Not Linux, or a container that hides it.
        return []
    return [len(each) for each in found.values()]
