"""The commands of each scheduler: which one is here, and how a script is handed in."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from mpidl.errors import ConfigError, LaunchError
from mpidl.sentences import printable

_PATIENCE = 120.0


@dataclass(frozen=True)
class Scheduler:
    """`command` hands a script in that it reads from its standard input; `number` is where it tells the job's, `queues`
    what lists that which a job may ask for, and `look` what shows a job.
    """

    name: str
    label: str
    command: tuple[str, ...]
    number: str
    queues: str
    look: str

    def submit(self, script: str) -> str:
        """The number of the job that this script becomes; LaunchError, with the scheduler's words, where it refuses."""
        try:
            done = subprocess.run(
                self.command,
                input=script,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
            )
        except FileNotFoundError as error:
            raise LaunchError(
                f"there is no {self.command[0]} on PATH, with which {self.label} takes jobs: run this where jobs are "
                "submitted, or say --dry-run to print the script"
            ) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LaunchError(
                f"{self.command[0]} does not answer ({printable(str(error))}); try again later"
            ) from error
        match = re.search(self.number, done.stdout)
        if done.returncode != 0 or match is None:
            raise LaunchError(self._refusal(done.stderr or done.stdout, done.returncode))
        return match[1]

    def _refusal(self, words: str, code: int) -> str:
        """What it has said, in one sentence, with what may help."""
        program = self.command[0]
        lines = [re.sub(rf"^{program}: (?:error: |fatal: )?", "", line.strip()) for line in words.splitlines()]
        said = printable("; ".join(filter(None, lines)), 400).rstrip(".") or f"exit code {code}, without a word"
        cure = "--dry-run prints the script"
        if re.search("array", said, re.IGNORECASE):
            cure = "an array has no more tasks than the site allows: sweep fewer values, one part after another"
        elif re.search("account|project", said, re.IGNORECASE):
            cure = "-A names who pays"
        elif re.search("partition|queue", said, re.IGNORECASE):
            cure = f"-p names another: `{self.queues}` lists them"
        return f"{program} refuses the job: {said}; {cure}"


SCHEDULERS = {
    scheduler.name: scheduler
    for scheduler in (
        Scheduler("slurm", "Slurm", ("sbatch", "--parsable"), r"^(\d+)", "sinfo --summarize", "squeue -j {job}"),
        Scheduler("pbs", "PBS", ("qsub",), r"^(\d+\S*)", "qstat -Q", "qstat {job}"),
        Scheduler("lsf", "LSF", ("bsub",), r"Job <(\d+)> is submitted", "bqueues", "bjobs {job}"),
    )
}


def chosen(name: str | None) -> Scheduler:
    """The scheduler of this name, or the one whose command is here."""
    if name is not None:
        return SCHEDULERS[name]
    here = [scheduler for scheduler in SCHEDULERS.values() if shutil.which(scheduler.command[0])]
    if len(here) == 1:
        return here[0]
    if here:
        names = ", ".join(scheduler.name for scheduler in here)
        raise ConfigError(f"the commands of several are here; choose one of {names}", "--scheduler")
    commands = ", ".join(scheduler.command[0] for scheduler in SCHEDULERS.values())
    raise ConfigError(
        f"is missing, since none of {commands} is on PATH: run this where jobs are submitted, or choose one of "
        f"{', '.join(SCHEDULERS)} and say --dry-run to print the script",
        "--scheduler",
    )
