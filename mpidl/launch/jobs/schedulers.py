"""The commands of each scheduler: which one is here, and how a script is handed in."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from mpidl.errors import ConfigError, LaunchError
from mpidl.sentences import printable

_PATIENCE = 120.0
# What may help, by the words of a scheduler that refuses; the first that fits.
_CURES = (
    (
        "configuration source|contact|connect|not respond",
        "{label} does not answer here: run this where jobs are submitted, or say --dry-run to print the script",
    ),
    ("array", "an array has no more tasks than the site allows: sweep fewer values, one part after another"),
    ("account|project", "-A names who pays, and -p where"),
    ("partition|queue", "-p names another: `{queues}` lists them"),
    ("gres|gpu", "say another --gpus-per-node, or -p where there are GPUs: `{queues}` lists what there is"),
    ("configuration|memory|processors|node count|limit|exceed", "ask for less, or -p another: `{queues}` lists them"),
    ("directive|option|specification|reservation|qos", "leave out, or mend, what --directive adds"),
)


@dataclass(frozen=True)
class Scheduler:
    """`command` hands a script in that it reads from its standard input; `number` is where it tells the job's, `queues`
    what lists that which a job may ask for, and `look` what shows a job. `rehearsal` tells whether it could start.

    `tasks` lists a job's tasks, in lines as `task` has them, of which those in a state of `over` are no more in work;
    `forgotten` is how it says that it knows no such job any more.
    """

    name: str
    label: str
    command: tuple[str, ...]
    number: str
    queues: str
    look: str
    tasks: tuple[str, ...]
    task: str
    over: frozenset[str]
    forgotten: str
    rehearsal: tuple[str, ...] = ()

    def submit(self, script: str) -> str:
        """The number of the job that this script becomes; LaunchError, with the scheduler's words, where it refuses."""
        done = self._asked(self.command, script)
        match = re.search(self.number, done.stdout)
        if done.returncode != 0 or match is None:
            raise LaunchError(self._refusal(done.stderr or done.stdout, done.returncode))
        return match[1]

    def in_work(self, job: str) -> set[int]:
        """Which tasks of a job wait or run, by their numbers; a job that is no array has task 1."""
        done = self._asked([word.format(job=job) for word in self.tasks], "")
        lines = re.finditer(self.task, done.stdout, re.MULTILINE)
        states = {int(line["task"] or 1): line["state"] for line in lines}
        if done.returncode != 0 and not states and not re.search(self.forgotten, done.stderr + done.stdout):
            said = printable((done.stderr or done.stdout).strip(), 200) or f"exit code {done.returncode}"
            raise LaunchError(f"{self.tasks[0]} does not tell what has become of job {job}: {said}; try again later")
        return {task for task, state in states.items() if state not in self.over}

    def _asked(self, command: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
        """How a command of the scheduler ends that reads this text; LaunchError where it cannot be asked."""
        try:
            return subprocess.run(
                command,
                input=text,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
            )
        except FileNotFoundError as error:
            raise LaunchError(
                f"there is no {command[0]} on PATH, with which {self.label} takes jobs: run this where jobs are "
                "submitted, or say --dry-run to print the script"
                if command is self.command
                else f"there is no {command[0]} on PATH, which tells of jobs of {self.label}: run this where jobs are "
                "submitted"
            ) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LaunchError(f"{command[0]} does not answer ({printable(str(error))}); try again later") from error

    def _refusal(self, words: str, code: int) -> str:
        """What it has said, in one sentence, with what may help."""
        program = self.command[0]
        lines = [re.sub(rf"^{program}: (?:error: |fatal: )?", "", line.strip()) for line in words.splitlines()]
        said = printable("; ".join(filter(None, lines)), 400).rstrip(".") or f"exit code {code}, without a word"
        cures = (cure for pattern, cure in _CURES if re.search(pattern, said, re.IGNORECASE))
        cure = next(cures, "--dry-run prints the script")
        return f"{program} refuses the job: {said}; {cure.format(label=self.label, queues=self.queues)}"

    def doubt(self, script: str) -> str:
        """Why a job of this script could not start as things stand, where the scheduler says so; else empty.

        It takes such jobs all the same, and has them wait: for a node that is away, or for ever.
        """
        if not self.rehearsal:
            return ""
        try:
            done = subprocess.run(
                self.rehearsal, input=script, capture_output=True, text=True, errors="replace", timeout=30, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            # Nobody has waited for this answer; whether the job is taken is asked for next.
            return ""
        match = re.search(r"allocation failure: (.+)", done.stderr + done.stdout)
        return printable(match[1].strip().rstrip("."), 200) if match else ""


SCHEDULERS = {
    scheduler.name: scheduler
    for scheduler in (
        Scheduler(
            name="slurm",
            label="Slurm",
            command=("sbatch", "--parsable"),
            number=r"^(\d+)",
            queues="sinfo --summarize",
            look="squeue -j {job}",
            tasks=("squeue", "--noheader", "--array", "--jobs={job}", "--format=%K %T"),
            task=r"^(?P<task>\d+) +(?P<state>\w+)",
            over=frozenset(
                {
                    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
                    *("PREEMPTED", "REVOKED", "TIMEOUT"),
                }
            ),
            forgotten="Invalid job id",
            rehearsal=("sbatch", "--test-only"),
        ),
        Scheduler(
            name="pbs",
            label="PBS",
            command=("qsub",),
            number=r"^(\d+\S*)",
            queues="qstat -Q",
            look="qstat {job}",
            tasks=("qstat", "-t", "{job}"),
            # The line of an array itself has empty brackets.
            task=r"^\d+(?:\[(?P<task>\d+)\])?(?:\.\S*)? .* (?P<state>[A-Z]) +\S+ *$",
            over=frozenset("CFX"),
            forgotten="Unknown Job|has finished",
        ),
        Scheduler(
            name="lsf",
            label="LSF",
            command=("bsub",),
            number=r"Job <(\d+)> is submitted",
            queues="bqueues",
            look="bjobs {job}",
            tasks=("bjobs", "-noheader", "-o", "jobindex stat", "{job}"),
            task=r"^(?P<task>\d+) +(?P<state>\w+)",
            over=frozenset({"DONE", "EXIT"}),
            forgotten="not found",
        ),
    )
}


def chosen(name: str | None, launcher: str | None) -> Scheduler:
    """The scheduler of this name, or the one whose command is here; it must have what is to start the ranks."""
    scheduler = _here() if name is None else SCHEDULERS[name]
    if launcher == "srun" and scheduler.name != "slurm":
        raise ConfigError(
            f"srun starts ranks in jobs of Slurm alone, and this one is of {scheduler.label}; leave it out to have the "
            "launcher of the MPI",
            "--launcher",
        )
    return scheduler


def _here() -> Scheduler:
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
