"""What of a sweep is in a scheduler's hands, as a file beside its runs tells: so that no run is submitted twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mpidl.errors import ConfigError
from mpidl.launch.jobs.schedulers import SCHEDULERS, Scheduler
from mpidl.results.output import write_text

_FILE = "submitted.json"


@dataclass(frozen=True)
class Submitted:
    """A job that is an array; the first of `runs`, which are files in the sweep's folder, is of task 1."""

    name: str
    job: str
    runs: tuple[str, ...]

    @property
    def scheduler(self) -> Scheduler:
        return SCHEDULERS[self.name]

    def in_work(self) -> set[str]:
        """Which of its runs wait or run."""
        tasks = self.scheduler.in_work(self.job)
        return {run for task, run in enumerate(self.runs, 1) if task in tasks}


def noted(folder: Path) -> list[Submitted]:
    """The jobs that are known of in the folder of a sweep; ConfigError where the file is not ours."""
    file = folder / _FILE
    try:
        text = file.read_text()
    except FileNotFoundError:
        return []
    try:
        return list(_read(json.loads(text)))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{str(file)!r} does not say which jobs the sweep has; remove it, once none is in work any more"
        ) from error


def _read(entries: list[dict[str, object]]) -> Iterator[Submitted]:
    for entry in entries:
        name, job, runs = entry["name"], entry["job"], entry["runs"]
        if (
            not isinstance(name, str)
            or name not in SCHEDULERS
            or not isinstance(job, str)
            or not isinstance(runs, list)
        ):
            raise ValueError(name)
        yield Submitted(name, job, tuple(map(str, runs)))


def note(folder: Path, jobs: Sequence[Submitted]) -> None:
    """Has the folder of a sweep know of these jobs, and of no others."""
    write_text(folder / _FILE, [json.dumps([asdict(job) for job in jobs], indent=1), "\n"])
