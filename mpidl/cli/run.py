"""`mpidl run`: outside MPI it checks everything and starts the ranks; started by mpirun or srun it is one of them."""

from __future__ import annotations

import gc
import os
import shlex
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mpidl.cli import options
from mpidl.errors import EXIT_CODES, ConfigError
from mpidl.spoken import amount, counted

if TYPE_CHECKING:
    from mpidl.experiment import Config
    from mpidl.experiment.rehearsal import Needs
    from mpidl.launch.hosts import Hosts
    from mpidl.launch.process import Launch


@dataclass(frozen=True)
class Words:
    """What a command line says that is for every rank."""

    config: Path
    overrides: tuple[str, ...]
    overwrite: bool
    resume: bool
    allowed: tuple[str, ...]
    verbose: bool = False
    debug: bool = False

    def program(self, output: Path) -> list[str]:
        """What every rank executes: this command again."""
        from mpidl.launch.command import this_mpidl

        words = this_mpidl("run", str(self.config))
        for assignment in self.overrides:
            words += ["-s", assignment]
        words += ["-o", str(output)]
        for key in self.allowed:
            words += ["--allow-changes", key]
        flags = {"overwrite": self.overwrite, "resume": self.resume, "verbose": self.verbose, "debug": self.debug}
        return words + [f"--{name}" for name, said in flags.items() if said]


@click.command(epilog=f"Exit codes: {EXIT_CODES}.")
@click.argument("config", type=click.Path(path_type=Path))
@options.ranks("How many ranks; default: the slots of hosts, the tasks of a job, else one per GPU, or one per core.")
@options.hosts()
@options.settings("overrides", "Replace a key, as in algorithm.lr=0.1.")
@options.output("OUT.h5", "The run file; default: runs/<name>-s<seed>.h5.")
@options.overwrite("Replace an existing run file.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint, if there is a run; else begin one.")
@options.allow_changes(
    "With --resume: a key, or a section, that is meant to differ from the run's; a longer run needs none, unless its "
    "learning rates follow its length."
)
@click.option(
    "--dry-run", is_flag=True, help="Check, and print the command, the memory and the bytes per round; run nothing."
)
@click.option("-v", "--verbose", is_flag=True, help="Tell how rows travel between neighbours.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def run(
    config: Path,
    ranks: int | None,
    hosts: Hosts | None,
    overrides: Sequence[str],
    output: Path | None,
    overwrite: bool,
    resume: bool,
    allowed: Sequence[str],
    dry_run: bool,
    verbose: bool,
    debug: bool,
) -> int:
    """Train as CONFIG (a YAML file) says.

    Ranks are started with the launcher of the MPI that mpi4py loads; under `mpirun -n 4 mpidl run CONFIG` or srun this
    process is one of the ranks.
    """
    from mpidl.launch.surroundings import is_rank, refuse_more_than_the_job_has

    if overwrite and resume:
        raise ConfigError("goes on with what --overwrite replaces; say one of them", "--resume")
    if allowed and not resume:
        raise ConfigError("is for a run that goes on; say --resume", "--allow-changes")
    words = Words(config, tuple(overrides), overwrite, resume, tuple(allowed), verbose, debug)
    if is_rank() and not dry_run:
        _run_rank(words, ranks, output)
        return 0

    from mpidl.comm.start.sentinel import interruptible
    from mpidl.launch.signals import keeping

    with keeping(), interruptible():
        from mpidl.launch.launcher import find
        from mpidl.task import Task

        # It takes other processes, and goes on beside what follows.
        finding = Task(partial(find, hosts), apart=True)

        from mpidl.launch.process import Launch

        loaded, ranks, path = checked(
            words, output, lambda loaded: ranks or default_ranks(loaded, hosts=hosts), dry_run
        )
        refuse_more_than_the_job_has(ranks)
        _use_cores_of_tasks(loaded)
        if hosts is not None:
            # One of them may not be ready.
            finding.outcome()
        if not dry_run:
            # What only data and networks show, ranks find out: they load them anyway, and at the same time.
            click.echo(f"starting {counted(ranks, 'rank')}…", err=True)
        stopping, outliving = signal.Signals[f"SIG{loaded.checkpoint.signal}"], loaded.failures.outliving
        program, handed, found = words.program(path), loaded.model_dump_json(), finding.outcome
        launch = Launch(ranks, program, path, handed, stopping, found=found, outliving=outliving)
        return _dry(launch, words, loaded, path) if dry_run else launch.run()


def checked(
    words: Words, output: Path | None, ranks_of: Callable[[Config], int], dry_run: bool = False
) -> tuple[Config, int, Path]:
    """Configuration, number of ranks and run file, once all is right that can be seen before MPI starts."""
    from mpidl import experiment

    loaded = experiment.load(words.config, words.overrides)
    path = experiment.output_path(loaded, output)
    ranks = ranks_of(loaded)
    # A dry run writes nothing, and may be asked for beside a run that is there. Of a name too long Path would raise.
    replaceable = words.overwrite or dry_run and os.path.isfile(path)  # noqa: PTH113
    experiment.check(loaded, ranks, path, replaceable, words.resume)
    if words.resume:
        from mpidl.experiment import resume as resuming

        resuming.check(loaded, loaded.agents_on(ranks), path, words.allowed)
    return loaded, ranks, path


def _use_cores_of_tasks(config: Config) -> None:
    """Has ranks compute on as many threads as the job around gives each of them cores, where torch is to choose."""
    from mpidl.launch.surroundings import task_cores

    there = task_cores()
    if config.train.threads == "auto" and there is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(there))


def _dry(launch: Launch, words: Words, config: Config, output: Path) -> int:
    """Tells the command and what the run will need, once all is right that ranks look at before they train."""
    launch.prepare()
    needs = _rehearsed(words, config, output, launch)
    click.echo(shlex.join(launch.command()))
    click.echo(needs)
    _tell_of_output(words, output)
    return 0


def _rehearsed(words: Words, config: Config, output: Path, launch: Launch) -> str:
    from mpidl.experiment import trial
    from mpidl.experiment.inputs import Inputs
    from mpidl.experiment.rehearsal import rehearse
    from mpidl.experiment.requirements import require_outliving

    require_outliving(config, launch.ranks, launch.outliving, launch.library.title)
    device = trial.device_of(config, elsewhere=launch.launcher.hosts is not None)
    inputs = Inputs.read(config, launch.ranks)
    if words.resume:
        trial.require_resumable(inputs, output, words.allowed)
    needs = rehearse(config, launch.ranks, inputs)
    tried = trial.try_out(inputs, device)
    untried = "" if tried else f"\nnot tried           the network, of more than {amount(trial.LARGEST)}; ranks will"
    return _described(needs, config) + untried


def _tell_of_output(words: Words, output: Path) -> None:
    """What is in the way of the run, though not of a dry run, which may be asked for beside a run that goes on."""
    from mpidl.results.output import check_run_file

    try:
        check_run_file(output, words.overwrite, words.resume)
    except ConfigError as error:
        click.echo(f"the run would be refused: {error.message}", err=True)


def _described(needs: Needs, config: Config) -> str:
    """What the run will need, in a few lines."""
    method, settings = config.method, config.algorithm
    spilled = f"; up to {amount(needs.spilled_bytes)} in a file" if needs.spilled_bytes else ""
    when = "none within a node by shared memory" if needs.neighbours else "while a sum over agents is made"
    copied = f"; {amount(needs.copied_bytes)} more for checkpoints" if needs.copied_bytes else ""
    return "\n".join(
        [
            f"agents on ranks     {needs.agents} on {needs.ranks}",
            f"parameters          {needs.parameters:,}",
            f"rows on a rank      {amount(needs.state_bytes)}, plus activations and data{copied}{spilled}",
            f"rows in transit     {amount(needs.transit_bytes)} on a rank, {when}",
            f"models kept         {amount(needs.kept_bytes)} in the run file",
            f"rounds              {needs.rounds:,}",
            f"sent in a round     {amount(needs.round_bytes)} by all agents together",
            f"sent in the run     {amount(needs.run_bytes)} by all agents together",
            f"rows sent           {method.messages(settings)} by an agent in a round",
            f"gradients           {method.gradients(settings)} of an agent in a round",
        ]
    )


def default_ranks(config: Config, launches: int = 1, hosts: Hosts | None = None) -> int:
    """As many as hosts have slots, or a job tasks; else one per GPU, or per core, of each of so many launches at once.

    In any case no more than there are agents.
    """
    from mpidl.launch.surroundings import cores, tasks

    given = tasks() if hosts is None else hosts.total
    places = given or max(1, ((config.train.device != "cpu" and _gpus()) or cores()) // launches)
    return places if config.agents == "auto" else min(config.agents, places)


def _gpus() -> int:
    """GPUs of this machine that can train; a driver that could not be used in a forked process is not started."""
    from mpidl import makers

    if not makers.may_be_seen():
        return 0
    from mpidl import accelerator

    return accelerator.usable()


def _run_rank(words: Words, ranks: int | None, output: Path | None) -> None:
    """The whole life of a rank. What goes wrong on all ranks alike is told by one of them."""
    from mpidl.comm.start import failures, stopping
    from mpidl.launch.surroundings import ranks_around

    started = ranks_around()
    if ranks is not None and started is not None and ranks != started:
        sentence = f"{ranks} ranks are asked for, but {started} were started already; leave the option out"
        failures.refuse_before_mpi(ConfigError(sentence, "-n"))
    stopping.listen()
    if words.debug:
        os.environ[failures.DEBUG] = "1"
    with failures.guard():
        # Looking through what is imported for what nobody needs any more took 0.13 s here, and again during training.
        gc.disable()
        from mpidl import experiment
        from mpidl.experiment.rank import Beginning, main
        from mpidl.launch.received import received_configuration

        gc.freeze()
        gc.enable()
        handed = received_configuration()
        loaded = experiment.load(words.config, words.overrides) if handed is None else experiment.received(handed)
        beginning = Beginning(words.overwrite, words.resume, words.allowed)
        main(loaded, experiment.output_path(loaded, output), beginning, words.verbose)
