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
    templates.filters |= {"quoted": shlex.quote, "clock": clock, "hours": hours}
    file = f"jobs/{_name(scheduler, job.settings)}"
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
    for scheduler in SCHEDULERS:
        for asked in (few, many):
            settings = validate(JobSettings, asked | {"prologue": prologue})
            job = Job("mpidl", settings, asked["ranks"], asked["cores_per_rank"], "USR2", "mpidl")
            yield _name(scheduler, settings), script(scheduler, job)


def _name(scheduler: str, settings: JobSettings) -> str:
    return f"{scheduler}-{'single-node' if settings.nodes == 1 else 'gpu-nodes'}.sh"
