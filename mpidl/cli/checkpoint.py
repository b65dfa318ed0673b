"""`mpidl checkpoint`: the models that runs have kept, in run files and in checkpoints: told, verified, taken out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mpidl.cli import checkpoint_tables as tables
from mpidl.cli import options
from mpidl.cli.options import round_or_best
from mpidl.cli.tables import console
from mpidl.errors import ExitCode, ResultsError, choices_sentence
from mpidl.sentences import printable

if TYPE_CHECKING:
    from mpidl.results.checkpoints.reader import Checkpoint
    from mpidl.results.models import KeptModel

_PATH = click.argument("path", type=click.Path(path_type=Path), metavar="PATH")
_PATHS = click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")


class _Parts(click.Group):
    """A group that answers a misspelt name with the nearest."""

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.commands:
            forgotten = f"; say what to do with it, as in `mpidl checkpoint list {name}`" if Path(name).exists() else ""
            raise click.UsageError(f"command {choices_sentence(name, self.commands)}{forgotten}")
        return super().get_command(ctx, name)


@click.group(cls=_Parts)
def checkpoint() -> None:
    """The models that runs have kept: list, describe and verify them, take them out, start another run from them.

    PATH is a run file (RUN.h5), the folder of its checkpoints (RUN.ckpt), or one checkpoint in it.
    """


@checkpoint.command("list")
@_PATHS
def list_kept(paths: Sequence[Path]) -> None:
    """Which models and checkpoints there are, of which rounds."""
    from mpidl import results

    table, rows = tables.columns("where", "kept as", "round", "what", "bytes", "", ""), 0
    for path in paths:
        run = None if path.is_dir() else results.open(path)
        places = _places(path)
        best, metric = _best(path, places)
        rows_of_checkpoints = (_row(place, metric if place == best else "") for place in places)
        found = [*(tables.of_models(run) if run else ()), *rows_of_checkpoints]
        if not found:
            click.echo(printable(f"{path}: no models and no checkpoints; checkpoint.final: true keeps the last models"))
        for cells in found:
            table.add_row(*cells)
            rows += 1
    if rows:
        console().print(table)


@checkpoint.command()
@_PATH
@options.model()
@options.of_round()
def describe(path: Path, model: str | None, of_round: str | None) -> None:
    """The tensors of a model as in its state_dict, or the states of a checkpoint."""
    from mpidl import results

    if path.is_dir():
        table, sentence = tables.states(one_checkpoint(path, of_round))
    else:
        table, sentence = tables.tensors(results.open(path).model(model, round_or_best(of_round)))
    console().print(table)
    click.echo(printable(sentence))


@checkpoint.command()
@_PATHS
def verify(paths: Sequence[Path]) -> int:
    """Compare all models and checkpoints with their checksums.

    Every byte of them is read; the exit code is 2 if any differs.
    """
    from mpidl import results
    from mpidl.results import models

    damaged = False
    for path in paths:
        told: list[str] = []
        if not path.is_dir():
            run = results.open(path)
            whole, wrong = models.verify(run.path, run.kept)
            damaged = damaged or bool(wrong)
            told += [f"{path} is damaged: {words}" for words in wrong]
            if not wrong:
                told.append(f"{path}: {whole} models, each as it was written; {run.records} records")
        for place in _places(path):
            wrong_words, count = _verified(place)
            damaged = damaged or bool(wrong_words)
            told.append(wrong_words or f"{place}: {count} files, each as it was written")
        for line in told:
            click.echo(printable(line))
    return ExitCode.USAGE if damaged else ExitCode.DONE


@checkpoint.command()
@_PATH
@options.model()
@options.of_round()
@options.output("OUT.pt", "A state_dict as torch.save writes it, or OUT.safetensors.", required=True)
@options.overwrite()
@options.plug_ins("the checkpoint")
def export(path: Path, model: str | None, of_round: str | None, output: Path, overwrite: bool, plug_ins: bool) -> None:
    """Write a model as a state_dict.

    It has the BatchNorm statistics, too, and is for torch.load, safetensors, or as model.init of another run. Out of a
    checkpoint it takes the data of the run, and memory for all its agents.
    """
    from mpidl.models import files
    from mpidl.results.output import check_output

    files.check_suffix(output)
    check_output(output, overwrite, is_ours=files.is_state_dict)
    kept = _model(path, model, of_round, plug_ins)
    files.write(output, kept.state_dict())
    whose = kept.name if kept.agent is None else f"agent {kept.agent}"
    click.echo(printable(f"{whose} of {path} after round {kept.round} is in {output}"))


@checkpoint.command("import")
@click.argument("source", type=click.Path(path_type=Path), metavar="SOURCE")
@click.argument("config", type=click.Path(path_type=Path), metavar="CONFIG")
@options.settings("overrides", "Replace a key, as in model.hidden=[64].")
@options.output("OUT.pt", "Also write it there, if SOURCE may go or change.")
@options.overwrite()
def import_model(source: Path, config: Path, overrides: Sequence[str], output: Path | None, overwrite: bool) -> None:
    """Start another run from SOURCE.

    It is a run file, or a state_dict of torch or safetensors. Here it is seen that it fits the network of CONFIG, and
    told how to start from it.
    """
    from mpidl import experiment
    from mpidl.experiment.inputs import Inputs
    from mpidl.models import files
    from mpidl.results.output import check_output

    if source.is_dir():
        raise ResultsError(f"{str(source)!r} is a folder; take a model out of it first, with mpidl checkpoint export")
    if output is not None:
        files.check_suffix(output)
        check_output(output, overwrite, is_ours=files.is_state_dict)
    loaded = experiment.load(config, [*overrides, f"model.init={json.dumps(_as_path(source))}"])
    # The network is the same for any number of agents.
    module = Inputs.read(loaded, 1).network()
    if output is not None:
        files.write(output, module.state_dict())
    start = _as_path(source if output is None else output)
    click.echo(printable(f"it fits; start from it with: mpidl run {config} -s model.init={start}"))


def _as_path(path: Path) -> str:
    """With a slash, so that it is no misspelt word."""
    return str(path) if "/" in str(path) or "." in str(path) else f"./{path}"


def _places(path: Path) -> list[Path]:
    """The checkpoints of a run file, of a folder of them, or the one that the path itself is; the newest first."""
    from mpidl.results.checkpoints.folder import CheckpointFolder
    from mpidl.results.checkpoints.index import INDEX

    if (path / INDEX).exists():
        return [path]
    if path.is_dir() and path.suffix != ".ckpt":
        return []
    folder = CheckpointFolder(path.with_suffix(".h5") if path.is_dir() else path)
    return [folder.of_round(round_) for round_ in folder.rounds()]


def _checkpoints(path: Path) -> list[Checkpoint]:
    from mpidl.results.checkpoints import reader

    return [reader.open(place) for place in _places(path)]


def one_checkpoint(path: Path, of_round: str | None) -> Checkpoint:
    """The newest checkpoint in a folder, or that of a round."""
    found = _checkpoints(path)
    if not found:
        raise ResultsError(f"there is no checkpoint in {str(path)!r}")
    asked = round_or_best(of_round)
    best, _ = _best(path, [each.path for each in found]) if asked == "best" else (None, "")
    wanted = [each for each in found if asked in (None, each.facts.round) or each.path == best]
    if not wanted:
        rounds = ", ".join(str(each.facts.round) for each in reversed(found))
        raise ResultsError(f"{str(path)!r} has no checkpoint of round {of_round!r} ({rounds})")
    return wanted[0]


def _best(path: Path, places: Sequence[Path]) -> tuple[Path | None, str]:
    """Of these checkpoints the best by the metric that the run file beside them says, and this; none without."""
    from mpidl import results
    from mpidl.results.checkpoints.folder import CheckpointFolder
    from mpidl.results.metrics import best_round

    file = path.with_suffix(".h5") if path.is_dir() else path
    if not places or not file.is_file():
        return None, ""
    run = results.open(file)
    metric = tables.metric_of_best(run)
    if metric is None:
        return None, ""
    folder = CheckpointFolder(file)
    best = best_round(metric, run.by_round(metric), folder.rounds())
    return (None, "") if best is None else (folder.of_round(best), metric)


def _row(place: Path, best: str) -> tuple[str, ...]:
    """What is listed of a checkpoint, be it damaged; `best`: the metric by which it is the best, if it is."""
    from mpidl.results.checkpoints import reader

    try:
        return tables.of_checkpoint(reader.open(place), best)
    except ResultsError as error:
        return (str(place), "damaged", "", str(error), "", "", "")


def _verified(place: Path) -> tuple[str, int]:
    """What is wrong with a checkpoint, empty if nothing, and how many files it has."""
    from mpidl.results.checkpoints import reader

    try:
        found = reader.open(place)
        found.verify()
    except ResultsError as error:
        return str(error), 0
    return "", len(found.files)


def _model(path: Path, model: str | None, of_round: str | None, plug_ins: bool) -> KeptModel:
    from mpidl import results

    if not path.is_dir():
        return results.open(path).model(model, round_or_best(of_round))
    from mpidl.experiment.saved import model_of_checkpoint

    return model_of_checkpoint(one_checkpoint(path, of_round), model, plug_ins)
