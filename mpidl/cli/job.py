"""What `mpidl submit` and `mpidl sweep --submit` have in common: the options that say what a job asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mpidl.cli.options import Command
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from mpidl.launch.jobs.schedulers import Scheduler
    from mpidl.launch.jobs.settings import JobSettings

_LISTS = ("modules", "prologue", "directives")


def _asks(*names: str, **more: Any) -> Callable[[Command], Command]:
    """An option for a setting of the job, which replaces that of the site's profile."""
    return click.option(*names, default=None, **more)


_OPTIONS = (
    click.option("--site", metavar="NAME", help="Take defaults from this profile in ~/.config/mpidl/sites.yaml."),
    _asks("--scheduler", type=click.Choice(["slurm", "pbs", "lsf"]), help="Default: the one whose commands are here."),
    _asks("--nodes", type=click.IntRange(min=1), metavar="N", help="How many machines; default: 1."),
    _asks("--gpus-per-node", type=click.IntRange(min=0), metavar="N", help="GPUs of each; default: none."),
    _asks("--cores-per-rank", type=click.IntRange(min=1), metavar="N", help="Default: train.threads."),
    _asks("-t", "--time", metavar="TIME", help="When it is ended: 02:00:00, 1-12:00:00, '90 min' or '12 h'."),
    _asks("--notice", metavar="TIME", help="How long before it is to stop after a checkpoint; default: 2 min."),
    _asks("-A", "--account", metavar="NAME", help="Who pays."),
    _asks("-p", "--partition", metavar="NAME", help="Slurm's partition, or the queue."),
    _asks(
        "--launcher", metavar="NAME", help="What starts the ranks: srun, or one by its path; default: the MPI's own."
    ),
    click.option("--module", "modules", multiple=True, metavar="NAME", help="Load this module first."),
    click.option("--prologue", multiple=True, metavar="LINE", help="A line of the shell before the run."),
    click.option(
        "--directive", "directives", multiple=True, metavar="WORDS", help="More for the scheduler: --qos=high."
    ),
)


def options(command: Command) -> Command:
    """What a job asks for, as parameters that `settings` takes."""
    return reduce(lambda made, option: option(made), reversed(_OPTIONS), command)


def given(asked: dict[str, Any]) -> dict[str, Any]:
    """Of those parameters, the ones that the command line has."""
    return {name: value for name, value in asked.items() if value not in (None, ())}


def spelled(name: str) -> str:
    """How the option of a parameter is written on the command line."""
    return next(each.opts[-1] for each in click.get_current_context().command.params if each.name == name)


def settings(site: str | None, asked: dict[str, Any]) -> JobSettings:
    """Those of the site, with what the command line says instead, or, of lists, as well."""
    from mpidl import config as reading
    from mpidl.launch.jobs.settings import JobSettings, of_site

    found = JobSettings() if site is None else of_site(site)
    said = given(asked)
    try:
        checked = reading.validate(JobSettings, said)
    except ConfigError as error:
        raise ConfigError(error.message, spelled(error.key)) from error
    lists = {name: getattr(found, name) + getattr(checked, name) for name in _LISTS}
    return found.model_copy(update={name: getattr(checked, name) for name in said} | lists)


def hand_in(scheduler: Scheduler, script: str, folder: Path, what: str) -> str:
    """Hands the script in, and tells the number of the job; `folder` is where its log and its runs belong."""
    # Schedulers that cannot write a job's log end it without a word.
    folder.mkdir(parents=True, exist_ok=True)
    doubt, number = scheduler.doubt(script), scheduler.submit(script)
    click.echo(number)
    click.echo(f"{what} as {scheduler.label} job {number}; {scheduler.look.format(job=number)}", err=True)
    if doubt:
        click.echo(
            f"as things stand, it cannot start: {doubt}; ask for less, or -p another: `{scheduler.queues}` lists what "
            "there is",
            err=True,
        )
    return number
