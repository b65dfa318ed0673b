"""`mpidl run`: outside MPI it checks everything and starts the ranks; started by mpirun or srun it is one of them."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mpidl.cli.numbers import amount
from mpidl.errors import EXIT_CODES, ConfigError

if TYPE_CHECKING:
    from mpidl.experiment import Config
    from mpidl.experiment.rehearsal import Needs


@click.command(epilog=f"Exit codes: {EXIT_CODES}.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "-n",
    "--ranks",
    type=click.IntRange(min=1),
    metavar="RANKS",
    help="How many ranks; default: one per GPU, or one per core.",
)
@click.option(
    "-s", "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Replace a key, as in algorithm.lr=0.1."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="OUT.h5",
    help="The run file; default: runs/<name>-s<seed>.h5.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing run file.")
@click.option(
    "--dry-run", is_flag=True, help="Check, and print the command, the memory and the bytes per round; run nothing."
)
@click.option("-v", "--verbose", is_flag=True, help="Tell how rows travel between neighbours.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def run(
    config: Path,
    ranks: int | None,
    overrides: Sequence[str],
    output: Path | None,
    overwrite: bool,
    dry_run: bool,
    verbose: bool,
    debug: bool,
) -> int:
    """Train as CONFIG (a YAML file) says.

    Ranks are started with the launcher of the MPI that mpi4py loads; under `mpirun -n 4 mpidl run CONFIG` or srun this
    process is one of the ranks.
    """
    from mpidl.launch.surroundings import is_rank

    if is_rank() and not dry_run:
        _run_rank(config, ranks, overrides, output, overwrite, verbose, debug)
        return 0

    from mpidl.comm.start.sentinel import interruptible

    with interruptible():
        from mpidl import experiment
        from mpidl.launch.process import Launch
        from mpidl.launch.surroundings import cores

        loaded = experiment.load(config, overrides)
        path = experiment.output_path(loaded, output)
        if ranks is None:
            places = (loaded.train.device != "cpu" and _gpus()) or cores()
            ranks = places if loaded.agents == "auto" else min(loaded.agents, places)
        experiment.check(loaded, ranks, path, overwrite)

        from mpidl.experiment.inputs import Inputs
        from mpidl.experiment.rehearsal import prepare, rehearse

        program = _program(config, overrides, path, overwrite, verbose, debug)
        if dry_run:
            needs = _described(rehearse(loaded, ranks), loaded)
            click.echo(shlex.join(Launch(ranks, program).command()))
            click.echo(needs)
            return 0
        prepare(Inputs.read(loaded, ranks))
        return Launch(ranks, program, path, loaded.model_dump_json()).run()


def _described(needs: Needs, config: Config) -> str:
    """What the run will need, in a few lines."""
    method, settings = config.method, config.algorithm
    spilled = f"; up to {amount(needs.spilled_bytes)} in a file" if needs.spilled_bytes else ""
    when = "none within a node by shared memory" if needs.neighbours else "while a sum over agents is made"
    return "\n".join(
        [
            f"agents on ranks     {needs.agents} on {needs.ranks}",
            f"parameters          {needs.parameters:,}",
            f"rows on a rank      {amount(needs.state_bytes)}, plus activations and data{spilled}",
            f"rows in transit     {amount(needs.transit_bytes)} on a rank, {when}",
            f"models kept         {amount(needs.kept_bytes)} in the run file",
            f"sent in a round     {amount(needs.round_bytes)} by all agents together",
            f"rows sent           {method.messages(settings)} by an agent in a round",
            f"gradients           {method.gradients(settings)} of an agent in a round",
        ]
    )


def _gpus() -> int:
    """GPUs of this machine, counted without starting CUDA, which could not be used in a process forked from here."""
    import torch

    return torch.cuda.device_count()


def _run_rank(
    config: Path,
    ranks: int | None,
    overrides: Sequence[str],
    output: Path | None,
    overwrite: bool,
    verbose: bool,
    debug: bool,
) -> None:
    """The whole life of a rank. What goes wrong on all ranks alike is told by one of them."""
    from mpidl.comm.start import failures
    from mpidl.launch.surroundings import ranks_around

    if debug:
        os.environ[failures.DEBUG] = "1"
    with failures.guard():
        from mpidl import experiment
        from mpidl.experiment.rank import main
        from mpidl.launch.command import received_configuration

        started = ranks_around()
        if ranks is not None and started is not None and ranks != started:
            raise ConfigError(
                f"{ranks} ranks are asked for, but {started} were started already; leave the option out", "-n"
            )
        handed = received_configuration()
        loaded = experiment.load(config, overrides) if handed is None else experiment.received(handed)
        main(loaded, experiment.output_path(loaded, output), overwrite, verbose)


def _program(
    config: Path, overrides: Sequence[str], output: Path, overwrite: bool, verbose: bool, debug: bool
) -> list[str]:
    """What every rank executes: this command again, in this Python.

    -P keeps the current folder out of the search for modules: one named mpidl may lie there, beside a clone, say.
    """
    words = [sys.executable, "-P", "-m", "mpidl", "run", str(config)]
    for assignment in overrides:
        words += ["-s", assignment]
    words += ["-o", str(output)]
    words += ["--overwrite"] if overwrite else []
    words += ["--verbose"] if verbose else []
    words += ["--debug"] if debug else []
    return words
