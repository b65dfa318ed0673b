"""`mpidl analyze`: what the models that a run has kept tell of it, on the ranks at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mpidl.cli import findings_tables as tables
from mpidl.cli import options as shared
from mpidl.cli.options import round_or_best
from mpidl.cli.tables import console, json_line
from mpidl.errors import ConfigError, choices_sentence

if TYPE_CHECKING:
    from mpidl.analysis.studies.base import End
    from mpidl.analysis.subject import Subject
    from mpidl.analysis.workers import Workers
    from mpidl.experiment.schema import TrainSettings
    from mpidl.results import Run
    from mpidl.results.findings import Findings

KINDS = {
    "sharpness": "eigenvalues and trace of the Hessian, SAM's sharpness, sharpness in the agents' own directions",
    "landscape": "the loss on a line between models, on a random plane, and on one through three agents",
    "alignment": "cosines of agents' gradients and their variance T, over the rounds that were kept",
    "uncertainty": "the agents as a sample of models: entropy, mutual information, calibration, disagreement",
    "compression": "what packing rows has lost in the recorded rounds, beside what theory allows; needs no model",
}


_ONE_PROCESS = "a checkpoint is analysed by one process; leave it out"


@dataclass(frozen=True)
class CommandLine:
    """What a command line says that is for every rank."""

    run: Path
    kinds: tuple[str, ...]
    options: dict[str, Any]

    def program(self) -> list[str]:
        """What every rank executes."""
        from mpidl.launch.command import this_mpidl

        words = this_mpidl("analyze", str(self.run), *self.kinds)
        for name, value in self.options.items():
            name = name.replace("_", "-")
            if value is True:
                words.append(f"--{name}")
            elif value is not None and value is not False:
                for each in value if isinstance(value, tuple) else (value,):
                    words += [f"--{name}", str(each)]
        return words


@click.command(epilog="Kinds: " + "; ".join(f"{name}: {text}" for name, text in KINDS.items()) + ".")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN.h5")
@click.argument("kinds", nargs=-1, metavar="[KIND]...")
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
def analyze(run: Path, kinds: tuple[str, ...], ranks: int, **options: Any) -> int:
    """Find out what the models tell that RUN.h5, or a checkpoint, has kept; all KINDs that it allows by default.

    The results lie in RUN.analysis.h5, beside the run, which is left as it is; `mpidl plot` draws them. They are the
    same on any number of ranks. Starts its ranks itself, or is one of them under mpirun and srun.
    """
    from mpidl.launch.surroundings import is_rank

    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(choices_sentence(kind, KINDS), "KIND")
    if run.is_dir():
        from mpidl.cli.checkpoint import one_checkpoint

        run = one_checkpoint(run, options["round"]).path
        if ranks > 1:
            raise ConfigError(_ONE_PROCESS, "-n")
    words = CommandLine(run, kinds, options)
    if is_rank():
        _as_rank(words)
        return 0
    _check(words)
    if ranks > 1:
        from mpidl.launch.process import Launch

        return Launch(ranks, words.program()).run()
    from mpidl.analysis.workers import ALONE

    _work(words, ALONE, None)
    return 0


def _check(words: CommandLine) -> None:
    """Refuses what can be seen before anything is computed."""
    from mpidl.results import findings

    _three(words)
    run, created = _opened(words.run)
    findings.check(_output(words), created)
    if run is not None and not run.kept and set(words.kinds) != {"compression"}:
        # In the words of whoever asks for a model.
        run.model()


def _as_rank(words: CommandLine) -> None:
    from mpidl.comm.start import failures

    with failures.guard():
        from mpidl.analysis.ranks import SharingRanks
        from mpidl.comm.start import startup
        from mpidl.comm.world import World

        if words.run.is_dir():
            raise ConfigError(_ONE_PROCESS, "-n")
        train = _train_settings(words)
        comm = startup.start(train.device, train.threads)
        world = World(comm, comm.size, "cpu" if train.device == "cpu" else "auto")
        if world.rank == 0:
            _check(words)
        world.barrier()
        _work(words, SharingRanks(world), world.device)
        world.close()


def _train_settings(words: CommandLine) -> TrainSettings:
    """Of the run, or as the command line has them."""
    from mpidl import results
    from mpidl.experiment.measuring import configuration

    run, options = results.open(words.run), words.options
    return configuration(run.path, run.config, options["set"], options["plug_ins"]).train


def _work(words: CommandLine, workers: Workers, device: object) -> None:
    """What each process does; the first prints and writes."""
    from mpidl.results import findings, provenance

    _, created = _opened(words.run)
    output, speaks = _output(words), workers.rank == 0
    for found in _studied(words, workers, device):
        if isinstance(found, str):
            if speaks:
                click.echo(found, err=True)
        elif speaks:
            findings.write(output, words.run.name, created, found, provenance.gather())
            if words.options["json"]:
                click.echo(json_line({"path": str(words.run), "kind": found.kind} | tables.plain(found)))
            else:
                console().print(tables.table(found))
    if speaks:
        click.echo(f"results in {output}", err=True)


def _studied(words: CommandLine, workers: Workers, device: object) -> Iterator[Findings | str]:
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
        agents=_three(words),
        seed=options["seed"],
    )
    other, opened = _other(words), None
    for kind in words.kinds or KINDS:
        try:
            if kind == "compression":
                yield _compression(words.run)
            else:
                opened = opened or _subject(words, workers, device)
                yield STUDIES[kind](opened, choices, other)
        except Missing as missing:
            if words.kinds:
                raise
            yield f"no {kind}: {missing}"


def _subject(words: CommandLine, workers: Workers, device: Any) -> Subject:
    from mpidl import results
    from mpidl.analysis import subject

    options = words.options
    examples, overrides, plug_ins = options["examples"], options["set"], options["plug_ins"]
    if words.run.is_dir():
        return subject.of_checkpoint(words.run, examples, overrides, plug_ins)
    return subject.of_run(results.open(words.run), workers, examples, overrides, plug_ins, device)


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


def _output(words: CommandLine) -> Path:
    from mpidl.results.findings import beside

    output: Path | None = words.options["output"]
    return beside(words.run) if output is None else output


def _three(words: CommandLine) -> tuple[int, int, int] | None:
    text = words.options["agents"]
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts) or len(set(parts)) < 3:
        raise ConfigError(f"{text!r} is not three different agents, such as 0,3,5", "--agents")
    first, second, third = map(int, parts)
    return first, second, third
