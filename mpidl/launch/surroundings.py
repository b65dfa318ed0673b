"""What the launcher needs to know of this machine: its cores, and whether somebody started ranks already."""

from __future__ import annotations

import os
import pwd
import re
import resource
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import mpidl
from mpidl.comm.start import launchers
from mpidl.errors import ConfigError, LaunchError

_SCHEDULERS = {"SLURM_JOB_ID": "Slurm", "PBS_JOBID": "PBS", "LSB_JOBID": "LSF"}


def cores() -> int:
    """The cores that this process may use: its affinity, or the quota of its container where that is less."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, _quota(Path("/sys/fs/cgroup/cpu.max"), allowed)))


def _quota(file: Path, otherwise: int) -> int:
    """Whole cores granted by a control group (version 2): `200000 100000` is two, `max 100000` no limit."""
    try:
        granted, period = file.read_text().split()
        return int(granted) // int(period)
    except (OSError, ValueError):
        # No such file, or no number in it: there is no quota.
        return otherwise


def memory() -> int | None:
    """Bytes that new processes may take: what the system has free, or what their container has left of its limit."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError):
        # Not Linux: nobody says.
        return None
    try:
        limit, used = (int(Path("/sys/fs/cgroup", name).read_text()) for name in ("memory.max", "memory.current"))
        counted = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        # Copies of files are counted as used, and given up when somebody needs the room.
        return min(free, max(0, limit - used + int(counted["inactive_file"])))
    except (OSError, ValueError, KeyError):
        # No such file, or "max".
        return free


def scheduler(environment: Mapping[str, str] = os.environ) -> str | None:
    """The scheduler in whose allocation we are, with the job's number: `Slurm job 4711`."""
    for variable, name in _SCHEDULERS.items():
        if environment.get(variable):
            return f"{name} job {environment[variable]}"
    return None


def tasks(environment: Mapping[str, str] = os.environ) -> int | None:
    """How many ranks the job around is for; None outside of one, and where it has a single task or does not say.

    A job of one task may be for several ranks on the cores, or GPUs, of that one.
    """
    count = 0
    if environment.get("SLURM_JOB_ID"):
        count = _number(environment.get("SLURM_NTASKS"))
    elif environment.get("PBS_JOBID"):
        # A line for each task.
        count = len(_lines(environment.get("PBS_NODEFILE", "")))
    elif environment.get("LSB_JOBID"):
        count = _number(environment.get("LSB_DJOB_NUMPROC"))
    return count if count > 1 else None


def job_cores(environment: Mapping[str, str] = os.environ) -> int | None:
    """The cores of all nodes of the Slurm job around, as in `8(x2),4`; None elsewhere: other schedulers do not say."""
    entries = environment.get("SLURM_JOB_CPUS_PER_NODE", "") if environment.get("SLURM_JOB_ID") else ""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", entries)
    return sum(int(cores) * int(nodes or 1) for cores, nodes in found) or None


def refuse_more_than_the_job_has(ranks: int, environment: Mapping[str, str] = os.environ) -> None:
    """Refuses more ranks than the job around has room for, where it says for how many it has."""
    there, what = job_cores(environment), "core"
    if there is None and "SLURM_JOB_ID" not in environment:
        there, what = tasks(environment), "slot" if environment.get("LSB_JOBID") else "task"
    if there is not None and ranks > there:
        more = {"core": "--ntasks", "task": "mpiprocs of its chunks", "slot": "bsub -n"}[what]
        raise ConfigError(
            f"{ranks} ranks are more than the {there} {what}s of {scheduler(environment)}; ask the scheduler for more "
            f"({more}), or say {there} or fewer",
            "-n",
        )


def nodes(environment: Mapping[str, str] = os.environ) -> int:
    """How many hosts the job around has; 1 outside of one."""
    if environment.get("SLURM_JOB_ID"):
        return max(1, _number(environment.get("SLURM_JOB_NUM_NODES")))
    for job, variable in (("PBS_JOBID", "PBS_NODEFILE"), ("LSB_JOBID", "LSB_DJOB_HOSTFILE")):
        if environment.get(job):
            return max(1, len(set(_lines(environment.get(variable, "")))))
    return 1


def task_cores(environment: Mapping[str, str] = os.environ) -> int | None:
    """How many cores each task of the Slurm job around has, where that was asked for; other schedulers do not say."""
    count = _number(environment.get("SLURM_CPUS_PER_TASK")) if environment.get("SLURM_JOB_ID") else 0
    return count or None


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text().split()
    except OSError:
        return []


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdigit() else 0


def is_rank(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of the ranks that mpirun, srun or mpidl itself started.

    One task of srun is no sign: the shell of an interactive allocation is one, and mpidl is to start the ranks there.
    """
    place = launchers.find(environment)
    started = place.launcher is not None and (not place.launcher.name.startswith("srun") or place.size > 1)
    return started or "MPIDL_LAUNCHED" in environment


def ranks_around(environment: Mapping[str, str] = os.environ) -> int | None:
    """How many ranks were started, if this process is one of them and its launcher says so."""
    place = launchers.find(environment)
    return place.size if is_rank(environment) and place.launcher is not None else None


def with_home(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with HOME: where it is not set, what the system's list of users says, else the temporary folder.

    mpirun of Open MPI does not even tell its version without, and batch systems and containers may start a job so.
    """
    completed = dict(environment)
    if "HOME" not in completed:
        try:
            completed["HOME"] = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            # A container may run as a user whom nobody has listed.
            completed["HOME"] = tempfile.gettempdir()
    return completed


def modules_path(environment: Mapping[str, str]) -> str | None:
    """PYTHONPATH with which other processes find this mpidl, too, where only the current folder had it."""
    before, here = environment.get("PYTHONPATH"), str(Path(mpidl.__file__).parents[1])
    if here in (sys.path if sys.flags.safe_path else sys.path[1:]):
        return before
    return os.pathsep.join(filter(None, [here, before]))


def allow_open_files(ranks: int) -> None:
    """Raises this process's limit of open files to what the launcher of so many ranks may use; refuses a lower one."""
    least, plenty = 24 + 4 * ranks, 64 + 16 * ranks
    limit, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return
    reachable = plenty if highest == resource.RLIM_INFINITY else min(plenty, highest)
    if limit < reachable:
        limit = reachable
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, highest))
    if limit < least:
        raise LaunchError(
            f"the limit of {limit} open files for a process (ulimit -n) is too low: {ranks} ranks need {least}"
        )
