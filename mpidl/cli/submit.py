"""`mpidl submit`: checks what `mpidl run` would, and hands the scheduler a script that runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mpidl.cli import options
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from mpidl.launch.jobs.settings import JobSettings


def _asks(*names: str, **more: Any) -> Callable[[options.Command], options.Command]:
    """An option for a setting of the job, which replaces that of the site's profile."""
    return click.option(*names, default=None, **more)


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@options.ranks("How many ranks in all; default: one per GPU.")
@options.settings("overrides", "Replace a key, as in algorithm.lr=0.1.")
@options.output("OUT.h5", "The run file; default: runs/<name>-s<seed>.h5.")
@click.option("--site", metavar="NAME", help="Take defaults from this profile in ~/.config/mpidl/sites.yaml.")
@_asks("--scheduler", type=click.Choice(["slurm", "pbs", "lsf"]), help="Default: the one whose commands are here.")
@_asks("--nodes", type=click.IntRange(min=1), metavar="N", help="How many machines; default: 1.")
@_asks("--gpus-per-node", type=click.IntRange(min=0), metavar="N", help="GPUs of each; default: none.")
@_asks("--cores-per-rank", type=click.IntRange(min=1), metavar="N", help="Default: train.threads.")
@_asks("-t", "--time", metavar="TIME", help="When it is ended: 02:00:00, 1-12:00:00, '90 min' or '12 h'.")
@_asks("--notice", metavar="TIME", help="How long before it is to stop after a checkpoint; default: 2 min.")
@_asks("-A", "--account", metavar="NAME", help="Who pays.")
@_asks("-p", "--partition", metavar="NAME", help="Slurm's partition, or the queue.")
@click.option("--module", "modules", multiple=True, metavar="NAME", help="Load this module first.")
@click.option("--prologue", multiple=True, metavar="LINE", help="A line of the shell before the run.")
@click.option("--directive", "directives", multiple=True, metavar="WORDS", help="More for the scheduler: --qos=high.")
@options.allow_changes("A key that is meant to differ from the run's.")
@click.option("--dry-run", is_flag=True, help="Check, and print the script; submit nothing.")
def submit(
    config: Path,
    ranks: int | None,
    overrides: Sequence[str],
    output: Path | None,
    site: str | None,
    allowed: Sequence[str],
    dry_run: bool,
    **asked: Any,
) -> None:
    """Train as CONFIG (a YAML file) says, in a job of Slurm, PBS or LSF.

    Prints the job's number. The job begins the run, or goes on with it where there is one; before its time is over it
    stops after a checkpoint, and has itself started again until the run is done.
    """
    from mpidl.cli.run import Words, checked
    from mpidl.launch.jobs.job import job_of, ranks_of
    from mpidl.launch.jobs.schedulers import chosen
    from mpidl.launch.jobs.script import script

    settings = _settings(site, asked | {"ranks": ranks})
    scheduler = chosen(settings.scheduler)
    words = Words(config, tuple(overrides), overwrite=False, resume=True, allowed=tuple(allowed))
    loaded, count, path = checked(words, output, lambda loaded: ranks_of(settings, loaded))
    run = (*words.program(path), "-n", str(count))
    job = job_of(settings, loaded, path, count, run)
    text = script(scheduler.name, job)
    if dry_run:
        click.echo(text, nl=False)
        return
    # Schedulers that cannot write a job's log end it without a word.
    path.parent.mkdir(parents=True, exist_ok=True)
    number = scheduler.submit(text)
    click.echo(number)
    click.echo(f"submitted as {scheduler.label} job {number}; {scheduler.look.format(job=number)}", err=True)


def _settings(site: str | None, asked: dict[str, Any]) -> JobSettings:
    """Those of the site, with what the command line says instead, or, of lists, as well."""
    from mpidl import config as reading
    from mpidl.launch.jobs.settings import JobSettings, of_site

    settings = JobSettings() if site is None else of_site(site)
    given = {name: value for name, value in asked.items() if value is not None}
    try:
        checked = reading.validate(JobSettings, given)
    except ConfigError as error:
        said = {each.name: each.opts[0] for each in click.get_current_context().command.params}
        raise ConfigError(error.message, said[error.key]) from error
    lists = {name: getattr(settings, name) + getattr(checked, name) for name in ("modules", "prologue", "directives")}
    return settings.model_copy(update={name: getattr(checked, name) for name in given} | lists)
