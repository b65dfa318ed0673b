"""A job, once it is known how many ranks it has and where: all that the template of a script needs."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mpidl.errors import ConfigError
from mpidl.experiment import Config
from mpidl.experiment.sweep.member import Member
from mpidl.launch.command import rank_environment, this_mpidl
from mpidl.launch.jobs.settings import JobSettings
from mpidl.launch.launcher import CHOSEN
from mpidl.spoken import counted, duration


@dataclass(frozen=True)
class Job:
    """`run` is the command that trains, as words, without what the job adds; None where the script is told the
    configuration when it is submitted. `exports` are variables that the run needs, for a scheduler that passes on none.
    `tasks`: of a job that is an array, the words that each of its tasks adds to the command; `at_once` of them at most
    run beside each other, if that is said.
    """

    name: str
    settings: JobSettings
    ranks: int
    cores_per_rank: int
    signal: str
    log: str
    run: tuple[str, ...] | None = None
    report: tuple[str, ...] = ("mpidl", "env")
    exports: tuple[tuple[str, str], ...] = ()
    walltime: int | None = None
    """After which the run stops by itself, where the configuration says when."""
    tasks: tuple[tuple[str, ...], ...] = ()
    at_once: int | None = None

    @property
    def ranks_per_node(self) -> int:
        return self.ranks // self.settings.nodes

    @property
    def ended_by_signal(self) -> int:
        """The exit code that a shell makes of a process which the signal has ended."""
        return 128 + signal.Signals[f"SIG{self.signal}"]

    @property
    def shares_gpus(self) -> bool:
        """Whether several ranks have a GPU in common."""
        return 0 < self.settings.gpus_per_node < self.ranks_per_node

    @property
    def stops_after(self) -> int | None:
        """Seconds after which the run stops by itself, where no scheduler tells it to; None where nobody knows."""
        if self.settings.time is None:
            return None
        return min(self.settings.time - self.settings.notice, self.walltime or self.settings.time)


def ranks_of(settings: JobSettings, config: Config) -> int:
    """How many ranks the job has: as many as it says, or one per GPU, but no more than there are agents."""
    if settings.ranks is not None:
        return settings.ranks
    gpus = settings.nodes * settings.gpus_per_node
    if not gpus:
        agents = "" if config.agents == "auto" else f"; there are {config.agents} agents, and a rank can have several"
        raise ConfigError(f"is missing: how many ranks the job has{agents}", "-n")
    # As many on each node.
    most = gpus if config.agents == "auto" else min(config.agents, gpus)
    return max(settings.nodes, most - most % settings.nodes)


def job_of(settings: JobSettings, config: Config, output: Path, ranks: int, run: tuple[str, ...]) -> Job:
    """The job that trains this configuration; ConfigError where it asks for what cannot be."""
    threads = config.train.threads
    cores = settings.cores_per_rank or (threads if isinstance(threads, int) else 1)
    _check(settings, config, ranks, cores)
    walltime = config.train.walltime
    return Job(
        name=re.sub(r"[^\w.-]+", "-", config.name).strip("-") or "mpidl",
        settings=settings,
        ranks=ranks,
        cores_per_rank=cores,
        signal=config.checkpoint.signal,
        log=str(output.with_suffix("")),
        run=run,
        report=tuple(this_mpidl("env")),
        exports=_exports(settings),
        walltime=None if walltime is None else int(walltime),
    )


def array_of(
    settings: JobSettings,
    members: Sequence[Member],
    run: tuple[str, ...],
    tasks: Sequence[tuple[str, ...]],
    folder: Path,
    at_once: int | None,
) -> Job:
    """The job that trains these members of a sweep, each in a task of its own, whose words are `tasks`."""
    jobs = [job_of(settings, member.config, member.output, member.ranks, run) for member in members]
    first = jobs[0]
    if any(job.ranks != first.ranks for job in jobs):
        counts = sorted({job.ranks for job in jobs})
        raise ConfigError(
            f"is missing: the runs would have {', '.join(map(str, counts[:-1]))} or {counts[-1]} ranks, and all tasks "
            "of an array have as many",
            "-n",
        )
    if any(job.signal != first.signal for job in jobs):
        raise ConfigError("takes one value in a job: all its tasks get the same signal", "checkpoint.signal")
    if any(job.walltime != first.walltime for job in jobs):
        raise ConfigError("takes one value in a job: all its tasks have the same time", "train.walltime")
    return replace(
        first,
        cores_per_rank=max(job.cores_per_rank for job in jobs),
        log=str(folder / first.name),
        tasks=tuple(tasks),
        at_once=at_once,
    )


def _exports(settings: JobSettings) -> tuple[tuple[str, str], ...]:
    """Variables that the run needs here, and that some schedulers do not hand to a job; and what settings ask for."""
    environment = rank_environment()
    if settings.launcher is not None:
        environment[CHOSEN] = settings.launcher
    return tuple((name, environment[name]) for name in ("PYTHONPATH", "MPIDL_DATA", CHOSEN) if environment.get(name))


def _check(settings: JobSettings, config: Config, ranks: int, cores: int) -> None:
    nodes, each = settings.nodes, ranks // settings.nodes
    if ranks % nodes:
        less = f"{each * nodes} or " if each else ""
        raise ConfigError(
            f"{counted(ranks, 'rank')} cannot be shared out evenly over {nodes} nodes; say {less}{(each + 1) * nodes}, "
            "or another --nodes",
            "-n",
        )
    if settings.cores_per_node is not None and each * cores > settings.cores_per_node:
        fewer = settings.cores_per_node // cores * nodes
        raise ConfigError(
            f"{counted(each, 'rank')} with {counted(cores, 'core')} each are more than the "
            f"{settings.cores_per_node} cores of a node; say -n {fewer} or fewer, or more --nodes"
            if fewer
            else f"a rank with {cores} cores does not fit on a node of {settings.cores_per_node}; "
            "say fewer with --cores-per-rank",
            "-n",
        )
    device = config.train.device
    if device not in ("auto", "cpu") and not settings.gpus_per_node:
        raise ConfigError(f"is {device}, but the job asks for no GPU; say --gpus-per-node", "train.device")
    if settings.time is not None and settings.time <= settings.notice:
        raise ConfigError(
            f"{duration(settings.time)} are over before there has been time to train, as the run is told to stop "
            f"{duration(settings.notice)} before the end; ask for more, or say --notice",
            "--time",
        )
