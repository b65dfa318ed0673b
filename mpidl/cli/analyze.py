"""`mpidl analyze`: what the models that a run has kept tell of it, on the ranks at hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mpidl.cli import analyze_words
from mpidl.cli import findings_tables as tables
from mpidl.cli import options as shared
from mpidl.cli import runs as given
from mpidl.cli.analyze_words import KINDS, CommandLine
from mpidl.cli.options import round_or_best
from mpidl.cli.tables import console, json_line, print_fitting
from mpidl.errors import ConfigError, ResultsError

if TYPE_CHECKING:
    from mpidl.analysis.studies.base import End
    from mpidl.analysis.subject import Subject
    from mpidl.analysis.workers import Workers
    from mpidl.experiment.schema import TrainSettings
    from mpidl.results import Run
    from mpidl.results.findings import Findings

_ONE_PROCESS = "a checkpoint is analysed by one process; leave it out"


@click.command(epilog="Kinds: " + "; ".join(f"{name}: {text}" for name, text in KINDS.items()) + ".")
@click.argument("words", nargs=-1, required=True, metavar=f"{given.METAVAR} [KIND]...")
@shared.ranks("How many; default: 1.", default=1)
@click.option("--round", metavar="ROUND", help="A round that models are kept of, or best; default: the last.")
@click.option("--rounds", type=click.IntRange(min=2), default=20, show_default=True, help="Of a trajectory, at most.")
@click.option("--to", type=click.Path(path_type=Path), metavar="OTHER.h5", help="A run to whose model the line leads.")
@click.option("--agents", metavar="A,B,C", help="The three that span the plane; default: three that are far apart.")
@click.option("--points", type=click.IntRange(min=2), default=15, show_default=True, help="Of a side of a plane.")
@click.option("--eigenvalues", type=click.IntRange(min=1), default=5, show_default=True, help="The largest, how many.")
@click.option("--steps", type=click.IntRange(min=1), default=80, show_default=True, help="Of Lanczos, at most.")
@click.option("--rho", type=click.FloatRange(min=0, min_open=True), help="Of SAM; default: that of the run, or 0.05.")
@click.option("--draws", type=click.IntRange(min=2), default=32, show_default=True, help="Of random directions.")
@click.option("--examples", type=click.IntRange(min=1), metavar="NUMBER", help="Of the training part, at most so many.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of random directions.")
@shared.settings("set", "Replace a key, as in data.root=/d.")
@shared.plug_ins()
@shared.output("OUT.h5", "Default: RUN.analysis.h5.")
@click.option("--json", is_flag=True, help="One JSON object per kind, each on a line.")
def analyze(words: Sequence[str], ranks: int, **options: Any) -> int:
    """Find out what the models tell that runs, or a checkpoint, have kept; all KINDs that they allow by default.

    The results lie in RUN.analysis.h5, beside the run, which is left as it is; `mpidl plot` draws them. They are the
    same on any number of ranks. Of several runs, those that differ in nothing but their seed are told together; a
    folder or a pattern names all runs in it. Starts its ranks itself, or is one of them under mpirun and srun.
    """
    from mpidl.launch.surroundings import is_rank

    asked = CommandLine(*analyze_words.read(words, options["round"]), options)
    if is_rank():
        _as_rank(asked)
        return 0
    if asked.is_checkpoint and ranks > 1:
        raise ConfigError(_ONE_PROCESS, "-n")
    asked = _checked(asked)
    if ranks > 1:
        from mpidl.launch.process import Launch

        return Launch(ranks, asked.program()).run()
    from mpidl.analysis.workers import ALONE

    _work(asked, ALONE, None)
    return 0


def _checked(words: CommandLine) -> CommandLine:
    """Refuses what can be seen before anything is computed; one of many runs that has no models is left out."""
    from mpidl.results import findings

    words.three()
    able = []
    for path in words.runs:
        run, created = _opened(path)
        findings.check(words.output(path), created)
        try:
            if run is not None and not run.kept and set(words.kinds) != {"compression"}:
                # In the words of whoever asks for a model.
                run.model()
            able.append(path)
        except ResultsError as problem:
            if len(words.runs) == 1:
                raise
            given.left_out(problem)
    if not able:
        raise ResultsError(
            f"none of these {len(words.runs)} runs has kept a model; let them, with checkpoint.final: true"
        )
    return replace(words, runs=tuple(able))


def _as_rank(words: CommandLine) -> None:
    from mpidl.comm.start import failures

    with failures.guard():
        from mpidl.analysis.ranks import SharingRanks
        from mpidl.comm.start import startup
        from mpidl.comm.world import World

        if words.is_checkpoint:
            raise ConfigError(_ONE_PROCESS, "-n")
        train = _train_settings(words)
        comm = startup.start(train.device, train.threads)
        world = World(comm, comm.size, "cpu" if train.device == "cpu" else "auto")
        if world.rank == 0:
            _checked(words)
        world.barrier()
        _work(words, SharingRanks(world), world.device)
        world.close()


def _train_settings(words: CommandLine) -> TrainSettings:
    """Of the runs, or as the command line has them."""
    from mpidl import results
    from mpidl.experiment.measuring import configuration

    options = words.options
    each = [
        configuration(run.path, run.config, options["set"], options["plug_ins"]).train
        for run in map(results.open, words.runs)
    ]
    if len({train.device for train in each}) > 1:
        raise ConfigError(
            "these runs have different ones; say one for all of them, as in -s train.device=cpu", "train.device"
        )
    return each[0]


def _work(words: CommandLine, workers: Workers, device: object) -> None:
    """What each process does; the first prints and writes."""
    every = {path: list(_of_run(words, path, workers, device)) for path in words.runs}
    if workers.rank == 0 and len(words.runs) > 1 and not words.options["json"]:
        for title, columns in tables.of_several(every):
            click.echo(title)
            if columns:
                print_fitting(columns, "--json has them, and the files beside the runs")


def _of_run(words: CommandLine, path: Path, workers: Workers, device: object) -> Iterator[Findings]:
    """The findings about a run, each written as soon as it is there."""
    from mpidl.results import findings, provenance

    _, created = _opened(path)
    output, speaks = words.output(path), workers.rank == 0
    for found in _studied(words, path, workers, device):
        if isinstance(found, str):
            if speaks:
                click.echo(found, err=True)
            continue
        if speaks:
            findings.write(output, path.name, created, found, provenance.gather())
            if words.options["json"]:
                click.echo(json_line({"path": str(path), "kind": found.kind} | tables.plain(found)))
            elif len(words.runs) == 1:
                console().print(tables.table(found))
        yield found
    if speaks:
        click.echo(f"results in {output}", err=True)


def _studied(words: CommandLine, path: Path, workers: Workers, device: object) -> Iterator[Findings | str]:
    """The findings of each kind, or why there are none where nobody asked for this kind in particular."""
    from mpidl.analysis.studies import STUDIES
    from mpidl.analysis.studies.base import Choices
    from mpidl.analysis.subject import Missing

    options = words.options
    choices = Choices(
        round=round_or_best(options["round"]),
        eigenvalues=options["eigenvalues"],
        steps=options["steps"],
        rho=options["rho"],
        draws=options["draws"],
        rounds=options["rounds"],
        points=options["points"],
        agents=words.three(),
        seed=options["seed"],
    )
    other, opened = _other(words), None
    for kind in words.kinds or KINDS:
        try:
            if kind == "compression":
                yield _compression(path)
            else:
                opened = opened or _subject(words, path, workers, device)
                yield STUDIES[kind](opened, choices, other)
        except Missing as missing:
            if words.kinds:
                raise
            yield f"no {kind}: {missing}"


def _subject(words: CommandLine, path: Path, workers: Workers, device: Any) -> Subject:
    from mpidl import results
    from mpidl.analysis import subject

    options = words.options
    examples, overrides, plug_ins = options["examples"], options["set"], options["plug_ins"]
    if words.is_checkpoint:
        return subject.of_checkpoint(path, examples, overrides, plug_ins)
    return subject.of_run(results.open(path), workers, examples, overrides, plug_ins, device)


def _compression(path: Path) -> Findings:
    from mpidl import results
    from mpidl.analysis.studies import compression
    from mpidl.analysis.subject import Missing

    if path.is_dir():
        raise Missing("a checkpoint has no records; analyse the run file")
    return compression.study(results.open(path))


def _other(words: CommandLine) -> End | None:
    from mpidl import results
    from mpidl.analysis.studies.base import End
    from mpidl.analysis.subject import row_of

    path = words.options["to"]
    if path is None:
        return None
    kept = results.open(path).model()
    return End(f"{kept.name} of {path.name} after round {kept.round}", row_of(kept))


def _opened(path: Path) -> tuple[Run | None, str]:
    """The run file, None of a checkpoint, and when it was created."""
    if path.is_dir():
        from mpidl.results.checkpoints import reader

        return None, reader.open(path).created
    from mpidl import results

    run = results.open(path)
    return run, run.created
