"""`mpidl submit`: checks what `mpidl run` would, and hands the scheduler a script that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mpidl.cli import job, options


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@options.ranks("How many ranks in all; default: one per GPU.")
@options.settings("overrides", "Replace a key, as in algorithm.lr=0.1.")
@options.output("OUT.h5", "The run file; default: runs/<name>-s<seed>.h5.")
@job.options
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

    settings = job.settings(site, asked | {"ranks": ranks})
    scheduler = chosen(settings.scheduler, settings.launcher)
    words = Words(config, tuple(overrides), overwrite=False, resume=True, allowed=tuple(allowed))
    loaded, count, path = checked(words, output, lambda loaded: ranks_of(settings, loaded))
    run = (*words.program(path), "-n", str(count))
    text = script(scheduler.name, job_of(settings, loaded, path, count, run))
    if dry_run:
        click.echo(text, nl=False)
    else:
        job.hand_in(scheduler, text, path.parent, "submitted")
