"""`mpidl selftest`: whether mpidl works on the ranks at hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mpidl.cli import options
from mpidl.errors import EXIT_CODES

if TYPE_CHECKING:
    from mpidl.errors import ExitCode
    from mpidl.launch.hosts import Hosts
    from mpidl.selftest.area import Site, Verdict

# More show little more, and take the cores of others.
_MOST_RANKS = 4
_PATIENCE = 30.0


@click.command(epilog=f"Exit codes: {EXIT_CODES}.")
@options.ranks("Default: the slots of hosts, else one per core, from 2 to 4.")
@options.hosts()
@options.output(
    "FOLDER", "Where runs will go: files are written there, and removed.", default=Path("runs"), show_default=True
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0, min_open=True),
    default=_PATIENCE,
    show_default=True,
    metavar="SECONDS",
    help="For each area; what takes longer is said to hang.",
)
def selftest(ranks: int | None, hosts: Hosts | None, output: Path, patience: float) -> int:
    """Whether MPI, messages, shared memory, sums, gossip, GPUs, files and checkpoints work here, and numbers repeat.

    A line for each area: passed, skipped with the reason, or failed with the cause and the cure; the exit code is then
    that of the first that failed: 5 for MPI and what ranks tell each other, 2 for GPUs, 4 for files, 1 where numbers
    do not repeat. Starts its ranks itself, or is one of them under mpirun and srun.
    """
    from mpidl.launch.surroundings import is_rank

    if is_rank():
        _examine(output, patience)
        return 0

    from mpidl.launch.command import this_mpidl
    from mpidl.launch.launcher import find
    from mpidl.launch.process import Launch
    from mpidl.launch.surroundings import cores

    program = this_mpidl("selftest", "-o", str(output), "--patience", str(patience))
    default = hosts.total if hosts is not None else min(max(2, cores()), _MOST_RANKS)
    return Launch(ranks or default, program, found=partial(find, hosts)).run()


def _examine(output: Path, patience: float) -> None:
    """What each rank does; rank 0 prints."""
    from mpidl.comm.start import failures

    with failures.guard():
        import logging
        import shutil

        from mpidl.selftest.areas import AREAS
        from mpidl.selftest.examine import examine, require_all

        # What the runs of the check-up have to say is said by its areas.
        logging.getLogger("mpidl").addHandler(logging.NullHandler())
        site = _site(output, patience)

        def tidy() -> None:
            if site.world.rank == 0:
                shutil.rmtree(site.folder, ignore_errors=True)

        def late(verdict: Verdict, code: ExitCode) -> None:
            tidy()
            _end(verdict, code)

        try:
            verdicts = examine(site, AREAS, patience, _say, late)
        finally:
            tidy()
        require_all(verdicts, AREAS)
        site.world.close()


def _site(output: Path, patience: float) -> Site:
    """The ranks, once MPI has joined them."""
    import os
    import secrets

    from mpidl.comm.start import launchers, startup
    from mpidl.comm.world import World
    from mpidl.errors import ConfigError, ExitCode, LaunchError
    from mpidl.selftest.area import Site, Verdict
    from mpidl.selftest.examine import within

    def late() -> None:
        if launchers.find(os.environ).rank == 0:
            text = f"it has not joined the ranks within {patience:g} s; see what mpidl env says of MPI, and the network"
            _end(Verdict("MPI", "failed", text), ExitCode.COMMUNICATION)

    problem = ""
    with within(patience, late):
        try:
            comm = startup.start("auto", 1)
        except ConfigError as error:
            # The same on all ranks, and MPI has started.
            problem = error.message
            comm = startup.start("cpu", 1)
        except LaunchError as error:
            if launchers.find(os.environ).rank == 0:
                _say(Verdict("MPI", "failed", str(error)))
            raise
        world = World(comm, 2 * comm.size + 1, "cpu")
    existing = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    name = world.bcast_text(str(existing.absolute() / f"mpidl-selftest-{secrets.token_hex(8)}"))
    return Site(world, Path(name), problem)


def _say(verdict: Verdict) -> None:
    click.echo(str(verdict))


def _end(verdict: Verdict, code: ExitCode) -> None:
    """Says what hangs, and ends all ranks by the end of this one."""
    from mpidl.comm.start import failures

    _say(verdict)
    failures.leave(f"{verdict.area} hangs, and what comes after it was not looked at", code)
