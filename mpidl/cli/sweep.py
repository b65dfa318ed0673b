"""`mpidl sweep`: checks every run of a sweep, starts ranks once for all of them, and fills a table as they end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mpidl.cli import job, options
from mpidl.errors import EXIT_CODES, ConfigError, ExitCode
from mpidl.spoken import counted

if TYPE_CHECKING:
    from mpidl.experiment.sweep.axes import Axis
    from mpidl.experiment.sweep.member import Member
    from mpidl.launch.hosts import Hosts
    from mpidl.launch.jobs.submitted import Submitted


@click.command(
    epilog="The exit code is that of the first run in the table that did not finish. Exit codes: "
    f"{EXIT_CODES.replace('go on with --resume', 'the same command goes on')}."
)
@click.argument("config", type=click.Path(path_type=Path))
@options.settings(
    "assignments",
    "The values that a key takes, as in algorithm.lr=0.01,0.1; 1:5 is 1,2,3,4,5. A value that has a comma stands in "
    "quotes or is a YAML list, as in model.hidden=[64],[64,64]. One value alone replaces the key in all runs.",
    metavar="KEY=VALUE,…",
)
@options.ranks(
    "How many ranks each run has; default: slots of hosts, tasks of a job, else one per GPU, or one per core."
)
@options.hosts()
@options.output("FOLDER", "Where the run files go; default: runs/<name>.")
@click.option(
    "--at-once",
    type=click.IntRange(min=1, max=1000),
    metavar="N",
    help="How many runs go beside each other, each on ranks of its own; default: 1; tasks of a job: all.",
)
@click.option("--dry-run", is_flag=True, help="Check, and list the runs with their files, or print the job's script.")
@click.option(
    "--submit",
    is_flag=True,
    help="Hand what is missing to Slurm, PBS or LSF, as one job with a task for each run; the options from here on are "
    "for that, and say what each task asks for.",
)
@job.options
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def sweep(
    config: Path,
    assignments: Sequence[str],
    ranks: int | None,
    hosts: Hosts | None,
    output: Path | None,
    at_once: int | None,
    dry_run: bool,
    submit: bool,
    debug: bool,
    **asked: Any,
) -> int:
    """Train as CONFIG says once for each combination of the values that -s gives.

    Every run is checked before the first is started, and has a file that is called after what is its own, such as
    lr=0.1_seed=3.h5; its numbers are those of `mpidl run` with these values. Ranks are started once and take one run
    after another; a run that fails does not end the others. The same command said again leaves alone what is finished
    or has diverged, and goes on with what is half done. With --submit it shows how far the sweep has come, and submits
    the rest; each task of that job stops before its time is over, and starts again until its run is done.
    """
    from mpidl.launch.surroundings import is_rank, refuse_more_than_the_job_has, scheduler

    if is_rank() and not dry_run:
        _run_rank(debug)
        return ExitCode.DONE
    if output is not None and (output.suffix == ".h5" or output.is_file()):
        raise ConfigError(f"{str(output)!r} is no folder; a sweep writes many files, each named after its run", "-o")
    if hosts is not None:
        _refuse_with_hosts(hosts, ranks, submit, at_once)
    if submit:
        return _submit(config, assignments, output, at_once, dry_run, asked | {"ranks": ranks})
    for name in job.given(asked):
        raise ConfigError("is for a job; say --submit as well", job.spelled(name))
    refuse_more_than_the_job_has(ranks or 1)
    at_once = at_once or 1
    if at_once > 1 and (around := scheduler()):
        raise ConfigError(
            f"launches beside each other would take the same cores of {around}; leave it out, or give each a job",
            "--at-once",
        )

    from mpidl.comm.start.sentinel import interruptible
    from mpidl.launch.signals import keeping

    with keeping(), interruptible():
        from mpidl.launch.launcher import find
        from mpidl.task import Task

        # It takes other processes, and goes on beside what follows.
        finding = None if dry_run else Task(partial(find, hosts), apart=True)

        from mpidl.cli.run import default_ranks
        from mpidl.cli.sweep_table import SweepTable, dry, tell_changed
        from mpidl.experiment.sweep import axes, members

        swept = axes.read(assignments)
        found = members.members(config, swept, output, lambda loaded: ranks or default_ranks(loaded, at_once, hosts))
        total, values = counted(axes.count(swept), "run"), axes.described(swept)
        click.echo(f"{total}: {values}" if values else total, err=True)
        found = members.checked(found, inputs=dry_run)
        tell_changed(found)
        if finding is None:
            dry(found)
            return ExitCode.DONE

        from mpidl.launch.command import this_mpidl
        from mpidl.launch.sweep import Sweep

        program = this_mpidl(*_words(config, assignments, ranks, output, at_once, debug))
        with SweepTable(found) as table:
            series = list(members.series(found))
            line, code = Sweep(series, program, at_once, table.hear, table.write, table.look, finding.outcome).run()
        return table.conclude(line, code)


def _refuse_with_hosts(hosts: Hosts, ranks: int | None, submit: bool, at_once: int | None) -> None:
    if submit:
        raise ConfigError("is for ranks that are started now; a scheduler chooses the hosts of a job", hosts.key)
    if at_once is not None and at_once > 1:
        raise ConfigError("launches beside each other would take the same slots of hosts; leave it out", "--at-once")
    hosts.refuse_more(ranks or 1)


def _submit(
    config: Path,
    assignments: Sequence[str],
    output: Path | None,
    at_once: int | None,
    dry_run: bool,
    asked: dict[str, Any],
) -> int:
    """Shows what is over or in work, and hands the rest to a scheduler; returns the exit code."""
    from mpidl.cli.sweep_table import SweepTable, common_folder, tell_changed
    from mpidl.experiment.sweep import axes, members
    from mpidl.launch.command import this_mpidl
    from mpidl.launch.jobs.job import array_of, ranks_of
    from mpidl.launch.jobs.schedulers import chosen
    from mpidl.launch.jobs.script import script
    from mpidl.launch.jobs.submitted import Submitted, note

    settings = job.settings(asked.pop("site"), asked)
    scheduler, swept = chosen(settings.scheduler, settings.launcher), axes.read(assignments)
    planned = members.members(config, swept, output, lambda loaded: ranks_of(settings, loaded))
    folder = common_folder(planned)
    found, jobs = _in_work(members.checked(planned, inputs=False, running=True), folder)
    left = [member for member in found if not (member.standing.is_over or member.standing.is_in_work)]
    tell_changed(found)
    code: int = ExitCode.DONE
    if len(left) < len(found):
        table = SweepTable(found)
        with table:
            pass
        code = table.conclude("", code)
    for each, count in jobs.items():
        if not count:
            # Its runs belong to another sweep of this folder.
            continue
        is_in = "run is in" if count == 1 else "runs are in"
        look = each.scheduler.look.format(job=each.job)
        click.echo(f"{count} {is_in} {each.scheduler.label} job {each.job}, which goes on; {look}", err=True)
    if not left:
        return code
    same, own = _parted(swept)
    values = list(axes.combinations(own))
    tasks = [(*_said(values[member.number]), "-o", str(member.output)) for member in left]
    run = this_mpidl("run", str(config), *_said(same), "-n", str(left[0].ranks), "--resume")
    text = script(scheduler.name, array_of(settings, left, tuple(run), tasks, folder, at_once))
    if dry_run:
        click.echo(text, nl=False)
    else:
        number = job.hand_in(scheduler, text, folder, f"{counted(len(left), 'run')} submitted")
        runs = tuple(str(member.output.relative_to(folder)) for member in left)
        note(folder, [*jobs, Submitted(scheduler.name, number, runs)])
    return ExitCode.DONE


def _in_work(found: list[Member], folder: Path) -> tuple[list[Member], dict[Submitted, int]]:
    """The runs, with those marked that a job has which was submitted before; and these jobs, with how many they have.

    A run that says it is running, though its job is gone, was ended without a word.
    """
    from mpidl.experiment.sweep.member import Standing
    from mpidl.launch.jobs.submitted import noted

    before = noted(folder)
    in_work = {each: runs for each in before if (runs := each.in_work())}
    having, was = set().union(*in_work.values()), {run for each in before for run in each.runs}
    marked, left = [], set()
    for member in found:
        run, standing = str(member.output.relative_to(folder)), member.standing
        if not standing.is_over and run in having:
            left.add(run)
            standing = Standing.RUNNING if standing is Standing.RUNNING else Standing.SUBMITTED
        elif standing is Standing.RUNNING and run in was:
            standing = Standing.HALF
        marked.append(replace(member, standing=standing))
    return marked, {each: len(runs & left) for each, runs in in_work.items()}


def _parted(swept: Sequence[Axis]) -> tuple[dict[str, str], Sequence[Axis]]:
    """What all runs are told alike, before the first key that takes several values, and the rest, in its order."""
    first = next((place for place, axis in enumerate(swept) if axis.is_swept), len(swept))
    return {axis.key: axis.values[0] for axis in swept[:first]}, swept[first:]


def _said(values: dict[str, str]) -> list[str]:
    """As a command line has it."""
    return [word for key, value in values.items() for word in ("-s", f"{key}={value}")]


def _words(
    config: Path, assignments: Sequence[str], ranks: int | None, output: Path | None, at_once: int, debug: bool
) -> list[str]:
    """This command again, as run files tell of it; ranks are handed what it means."""
    words = ["sweep", str(config)]
    for assignment in assignments:
        words += ["-s", assignment]
    words += [] if ranks is None else ["-n", str(ranks)]
    words += [] if output is None else ["-o", str(output)]
    words += [] if at_once == 1 else ["--at-once", str(at_once)]
    return [*words, *(["--debug"] if debug else [])]


def _run_rank(debug: bool) -> None:
    """The whole life of a rank. What goes wrong on all ranks alike is told by one of them."""
    from mpidl.comm.start import failures, stopping
    from mpidl.launch.received import received_configuration

    text = received_configuration()
    if text is None:
        sentence = "mpidl sweep starts its ranks itself: leave mpirun or srun out, and say -n how many"
        failures.refuse_before_mpi(ConfigError(sentence))
    stopping.listen()
    if debug:
        os.environ[failures.DEBUG] = "1"
    with failures.guard():
        from mpidl.experiment.sweep.handed import Handed
        from mpidl.experiment.sweep.walk import main

        main(Handed.unpacked(text))
