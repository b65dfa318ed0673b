"""`mpidl bench`: how fast neighbours exchange rows on the ranks at hand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mpidl.cli import completion, options
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from mpidl.comm.benchmark import Measurement
    from mpidl.graphs.base import Topology
    from mpidl.launch.hosts import Hosts

TRANSPORTS = ("auto", "shared", "messages")
_WIDTH = 200
_LONGEST = 2**40


@click.command()
@options.ranks("How many ranks; default: the slots of hosts, else one per core.")
@options.hosts()
@click.option(
    "-g",
    "--graphs",
    default="ring,complete",
    show_default=True,
    metavar="NAMES",
    shell_complete=completion.graphs,
    help="As `mpidl list graphs` has them.",
)
@click.option(
    "-p", "--parameters", default="1,1e5,1e6,25e6", show_default=True, metavar="NUMBERS", help="Lengths of a row."
)
@click.option(
    "-t",
    "--transport",
    "transports",
    type=click.Choice(TRANSPORTS),
    multiple=True,
    default=("auto", "messages"),
    show_default=True,
    help="Ways to measure; can be given more than once.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=3.0,
    show_default=True,
    help="For each length.",
)
@options.output("OUT.h5", "Also write an HDF5 file.")
@options.overwrite()
def bench(
    ranks: int | None,
    hosts: Hosts | None,
    graphs: str,
    parameters: str,
    transports: Sequence[str],
    seconds: float,
    output: Path | None,
    overwrite: bool,
) -> int:
    """Time of a round of gossip with one agent per rank and float32 rows, of sums over all, and of copying a row.

    allreduce is MPI's, sum the same in the fixed order that `train.deterministic` takes.

    Times are the median and the quartiles of the slowest rank. The last column says how many copies of a row, made on
    all ranks at once, would have taken as long: mixing d neighbours' rows moves (d + 3)/3 times the memory of one. At
    one parameter, times are latencies. Starts its ranks itself, or is one of them under mpirun and srun.
    """
    from mpidl.launch.surroundings import is_rank

    if is_rank():
        _measure(graphs, parameters, transports, seconds, output, overwrite)
        return 0

    from mpidl.launch.command import this_mpidl
    from mpidl.launch.launcher import find
    from mpidl.launch.process import Launch
    from mpidl.launch.surroundings import cores, scheduler

    ranks = ranks or (cores() if hosts is None else hosts.total)
    topologies, lengths = _prepare(graphs, parameters, ranks)
    if scheduler() is None and hosts is None:
        # On other hosts nothing is known here of their memory.
        _check_memory(max(lengths), len(topologies) * len(transports), ranks)
    _check_output(output, overwrite)
    words = this_mpidl("bench", "-g", graphs, "-p", parameters, "--seconds", str(seconds))
    words += [word for transport in transports for word in ("-t", transport)]
    words += [] if output is None else ["-o", str(output)]
    words += ["--overwrite"] if overwrite else []
    return Launch(ranks, words, found=partial(find, hosts)).run()


def _prepare(graphs: str, parameters: str, ranks: int) -> tuple[dict[str, Topology], list[int]]:
    """The graphs by name, and the lengths, of a command line that is right."""
    from mpidl.graphs import GRAPHS

    names = [name.strip() for name in graphs.split(",")]
    try:
        topologies = {name: GRAPHS.parse(name).build(ranks, seed=0) for name in names}
    except ConfigError as error:
        raise ConfigError(error.message, "--graphs") from error
    return topologies, _lengths(parameters)


def _lengths(text: str) -> list[int]:
    """The numbers of `1,1e5,25e6`."""
    try:
        lengths = [float(word) for word in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a list of lengths such as 1,1e5,25e6", "--parameters") from error
    wrong = [length for length in lengths if not (1 <= length <= _LONGEST and length.is_integer())]
    if wrong:
        raise ConfigError(f"{wrong[0]:g} is not a length; give whole numbers from 1 to {_LONGEST:g}", "--parameters")
    return [int(length) for length in lengths]


def _check_memory(length: int, exchanges: int, ranks: int) -> None:
    """Refuses what would not fit: on each rank a row and its copy, two in sums, and two blocks for each exchange."""
    from mpidl.launch.surroundings import memory
    from mpidl.spoken import amount

    needed, there = ranks * 4 * length * (4 + 2 * exchanges), memory()
    if there is not None and needed > there:
        raise ConfigError(
            f"rows of {length:,} numbers need {amount(needed)} on {ranks} ranks, and {amount(there)} are free; "
            "give shorter ones, fewer graphs or fewer ranks",
            "--parameters",
        )


def _check_output(output: Path | None, overwrite: bool) -> None:
    from mpidl.results.measurements import is_measurements
    from mpidl.results.output import check_output, check_suffix

    if output is not None:
        check_output(output, overwrite, is_measurements)
        check_suffix(output)


def _measure(
    graphs: str, parameters: str, transports: Sequence[str], seconds: float, output: Path | None, overwrite: bool
) -> None:
    """What each rank does; rank 0 prints and writes."""
    from mpidl.comm.start import failures

    with failures.guard():
        from rich.console import Console

        from mpidl.comm.benchmark import measure
        from mpidl.comm.start import startup
        from mpidl.comm.world import World

        comm = startup.start("auto", 1)
        topologies, lengths = _prepare(graphs, parameters, comm.size)
        if comm.rank == 0:
            _check_output(output, overwrite)
        world = World(comm, comm.size, "auto")
        measurements = list(measure(world, topologies, lengths, transports, seconds))
        if world.rank == 0:
            # A rank's output is a terminal to some launchers, but not the one that will show it.
            Console(force_terminal=False, width=_WIDTH, highlight=False).print(_table(measurements))
            if output is not None:
                _write(output, measurements, world.hosts)
        world.close()


def _table(measurements: Sequence[Measurement]) -> Table:
    from rich import box
    from rich.table import Table

    from mpidl.spoken import amount, number

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("parameters", justify="right")
    for title in ("", "graph", "transport"):
        table.add_column(title)
    for title in ("median ms", "quartiles", "to a rank", "copies", "rounds"):
        table.add_column(title, justify="right")
    before = None
    for measurement in measurements:
        if before not in (None, measurement.parameters):
            table.add_section()
        before = measurement.parameters
        table.add_row(
            number(measurement.parameters),
            measurement.what,
            measurement.graph,
            f"auto: {measurement.travelled}" if measurement.transport == "auto" else measurement.transport,
            f"{1e3 * measurement.median:.3f}",
            f"{1e3 * measurement.low:.3f}–{1e3 * measurement.high:.3f}",
            f"{amount(measurement.bandwidth)}/s",
            f"{measurement.copies:.2f}",
            number(measurement.rounds),
        )
    return table


def _write(output: Path, measured: Sequence[Measurement], hosts: Sequence[str]) -> None:
    from dataclasses import asdict

    from mpidl.comm.start.startup import library
    from mpidl.metrics import Metric
    from mpidl.results import measurements, provenance

    metrics = (
        Metric(
            "what",
            "",
            "mix: a round of gossip; allreduce; sum: the same in a fixed order; copy: of one row on every "
            "rank at once; staging: its way from a GPU to pageable memory and back",
        ),
        Metric("graph", "", "for mix, who exchanges with whom"),
        Metric("transport", "", "as gossip.transport has it"),
        Metric("travelled", "", "how rows travelled then"),
        Metric("ranks", "1", "with one agent each"),
        Metric("parameters", "1", "float32 numbers in a row"),
        Metric("rounds", "1", "measured"),
        Metric("low", "s", "first quartile of the slowest rank's time"),
        Metric("median", "s", "median of the slowest rank's time"),
        Metric("high", "s", "third quartile of the slowest rank's time"),
        Metric("bytes", "bytes", "that reach a rank in a round"),
        Metric("copies", "1", "the median by that of copy for the same length"),
    )
    rows = [asdict(measurement) for measurement in measured]
    columns = {metric.name: [row[metric.name] for row in rows] for metric in metrics}
    measurements.write(output, "bench", columns, metrics, provenance.gather(hosts=hosts, mpi_library=library()))
