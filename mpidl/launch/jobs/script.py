"""Job scripts, made of the templates beside this file: those that `mpidl submit` hands in, and those of `jobs/`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

from mpidl.config import validate
from mpidl.launch.jobs.job import Job
from mpidl.launch.jobs.schedulers import SCHEDULERS
from mpidl.launch.jobs.settings import JobSettings


def script(scheduler: str, job: Job) -> str:
    """The script of a job, as this scheduler takes it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("mpidl.launch.jobs"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # What is made are shell scripts: `quoted` keeps words apart in them.
        autoescape=False,
    )
    templates.filters |= {"quoted": shlex.quote, "words": shlex.join, "clock": clock, "hours": hours}
    file = f"jobs/{_name(scheduler, job)}"
    text = templates.get_template(f"{scheduler}.sh").render(job=job, asks=job.settings, file=file)
    # What is left out leaves its empty lines behind.
    return re.sub(r"\n{3,}", "\n\n", text)


def clock(seconds: int) -> str:
    """`26:00:00`, which Slurm and PBS understand."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def hours(seconds: int) -> str:
    """`26:01`, as LSF has it: hours and whole minutes, the last one begun included."""
    minutes = -(-seconds // 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def ready() -> Iterator[tuple[str, str]]:
    """The scripts of `jobs/` with their names: to be copied and changed, and told the configuration when submitted."""
    # Examples, to be changed by whoever has other modules.
    prologue = ("# module load python openmpi", "# source ~/venvs/mpidl/bin/activate")
    few: dict[str, Any] = {"nodes": 1, "ranks": 8, "cores_per_rank": 1, "time": "00:30:00"}
    many: dict[str, Any] = {"nodes": 2, "ranks": 8, "cores_per_rank": 8, "gpus_per_node": 4, "time": "12:00:00"}
    rates = [
        ("-s", f"algorithm.lr={rate}", "-s", f"seed={seed}", "-o", f"runs/rates/lr={rate}_seed={seed}.h5")
        for rate in ("0.05", "0.1")
        for seed in (1, 2, 3)
    ]
    for scheduler in SCHEDULERS:
        for asked, tasks in ((few, ()), (many, ()), (few, rates)):
            settings = validate(JobSettings, asked | {"prologue": prologue})
            job = Job(
                name="mpidl",
                settings=settings,
                ranks=asked["ranks"],
                cores_per_rank=asked["cores_per_rank"],
                signal="USR2",
                log="mpidl",
                tasks=tuple(tasks),
            )
            yield _name(scheduler, job), script(scheduler, job)


def _name(scheduler: str, job: Job) -> str:
    if job.tasks:
        return f"{scheduler}-sweep.sh"
    return f"{scheduler}-{'single-node' if job.settings.nodes == 1 else 'gpu-nodes'}.sh"
