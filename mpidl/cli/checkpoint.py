"""`mpidl checkpoint`: the models that run files keep: which there are, whether they are whole, and as other files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mpidl.cli.evaluate import round_or_best
from mpidl.cli.numbers import ABSENT, amount, console, number
from mpidl.errors import ExitCode, choices_sentence
from mpidl.sentences import printable

if TYPE_CHECKING:
    from rich.table import Table

    from mpidl.results import Run
    from mpidl.results.models import Kept

_RUN = click.argument("run", type=click.Path(path_type=Path), metavar="RUN.h5")
_RUNS = click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN.h5...")
_ROUND = click.option(
    "--round", "of_round", metavar="ROUND", help="A round that models are kept of, or best; default: the last."
)


class _Parts(click.Group):
    """A group that answers a misspelt name with the nearest."""

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.commands:
            raise click.UsageError(f"command {choices_sentence(name, self.commands)}")
        return super().get_command(ctx, name)


@click.group(cls=_Parts)
def checkpoint() -> None:
    """The models that a run has kept: list, describe and verify them, take them out, start another run from them."""


@checkpoint.command("list")
@_RUNS
def list_kept(runs: Sequence[Path]) -> None:
    """Which models run files keep, of which rounds."""
    from mpidl import results

    opened = [results.open(run) for run in runs]
    for run in opened:
        if not run.kept:
            click.echo(printable(f"{run.path}: no models; checkpoint.final: true keeps them"))
    if any(run.kept for run in opened):
        console().print(_kept(opened))


def _kept(runs: Sequence[Run]) -> Table:
    table = _table("run", "kept as", "round", "models", "of a model", "", "")
    for run in runs:
        size = amount(run.model_bytes()) if run.kept else ABSENT
        for kept in run.kept:
            names = (name if agents is None else f"{name} (0 to {agents - 1})" for name, agents in kept.models.items())
            measured = [f"{name} {number(value)}" for name, value in _metrics(run, kept).items()]
            cells = [str(run.path), _place(run, kept), number(kept.round), ", ".join(names), size]
            table.add_row(*cells, *(measured + ["", ""])[:2])
    return table


def _place(run: Run, kept: Kept) -> str:
    if kept.group == "best":
        section = run.config.get("checkpoint")
        metric = section.get("best") if isinstance(section, dict) else None
        return f"best {metric}" if metric else "best"
    return "final" if run.status == "finished" and kept is _newest(run) else "snapshot"


def _newest(run: Run) -> Kept | None:
    return next((kept for kept in reversed(run.kept) if kept.group == "snapshots"), None)


def _metrics(run: Run, kept: Kept) -> dict[str, float]:
    """What the run has recorded of the model that is meant where none is named."""
    records = [record for record, round_ in enumerate(run.metrics["round"]) if round_ == kept.round]
    names = [f"test_{quantity}_{kept.shared or 'local'}" for quantity in ("accuracy", "loss")]
    return {name: float(run.curve(name)[records[-1]]) for name in names if records and name in run.metrics}


@checkpoint.command()
@_RUN
@click.option("--model", metavar="MODEL", help="consensus, server, or an agent's number; default: what all hold.")
@_ROUND
def describe(run: Path, model: str | None, of_round: str | None) -> None:
    """The tensors of a model, as in its state_dict."""
    from mpidl import results

    kept = results.open(run).model(model, round_or_best(of_round))
    network = kept.network
    table = _table("tensor", "type", "shape", "numbers", "")
    words = {"parameters": "trained", "floats": "statistics", "integers": "statistics", "constants": "not trained"}
    for entry in network.entries:
        shape = "×".join(map(str, entry.shape)) or "number"
        table.add_row(entry.name, entry.dtype, shape, f"{entry.size:,}", words[entry.row])
    console().print(table)
    whose = kept.name if kept.agent is None else f"agent {kept.agent}"
    click.echo(
        f"{whose} after round {kept.round}: {network.length('parameters'):,} trained numbers, "
        f"{amount(network.nbytes)}, for examples of shape {list(network.example_shape)} and {network.outputs} outputs"
    )


@checkpoint.command()
@_RUNS
def verify(runs: Sequence[Path]) -> int:
    """Compare all models with their checksums.

    Every byte of them is read; the exit code is 2 if any differs.
    """
    from mpidl import results
    from mpidl.results import models

    damaged = False
    for path in runs:
        run = results.open(path)
        whole, wrong = models.verify(run.path, run.kept)
        for words in wrong:
            click.echo(printable(f"{path}: damaged: {words}"))
        if not wrong:
            click.echo(printable(f"{path}: {whole} models, each as it was written; {run.records} records"))
        damaged = damaged or bool(wrong)
    return ExitCode.USAGE if damaged else ExitCode.DONE


@checkpoint.command()
@_RUN
@click.option("--model", metavar="MODEL", help="consensus, server, or an agent's number; default: what all hold.")
@_ROUND
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT.pt",
    help="A state_dict as torch.save writes it, or OUT.safetensors.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def export(run: Path, model: str | None, of_round: str | None, output: Path, overwrite: bool) -> None:
    """Write a model as a state_dict.

    It has the BatchNorm statistics, too, and is for torch.load, safetensors, or as model.init of another run.
    """
    from mpidl import results
    from mpidl.models import files
    from mpidl.results.output import check_output

    files.check_suffix(output)
    check_output(output, overwrite, is_ours=files.is_state_dict)
    kept = results.open(run).model(model, round_or_best(of_round))
    files.write(output, kept.state_dict())
    whose = kept.name if kept.agent is None else f"agent {kept.agent}"
    click.echo(printable(f"{whose} of {run} after round {kept.round} is in {output}"))


@checkpoint.command("import")
@click.argument("source", type=click.Path(path_type=Path), metavar="SOURCE")
@click.argument("config", type=click.Path(path_type=Path), metavar="CONFIG")
@click.option(
    "-s", "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Replace a key, as in model.hidden=[64]."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="OUT.pt",
    help="Also write it there, if SOURCE may go or change.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def import_model(source: Path, config: Path, overrides: Sequence[str], output: Path | None, overwrite: bool) -> None:
    """Start another run from SOURCE.

    It is a run file, or a state_dict of torch or safetensors. Here it is seen that it fits the network of CONFIG, and
    told how to start from it.
    """
    from mpidl import experiment
    from mpidl.experiment.inputs import Inputs
    from mpidl.models import files
    from mpidl.results.output import check_output

    if output is not None:
        files.check_suffix(output)
        check_output(output, overwrite, is_ours=files.is_state_dict)
    loaded = experiment.load(config, [*overrides, f"model.init={json.dumps(_as_path(source))}"])
    # Agents are as many as the configuration says, or one: the network is the same for any number.
    module = Inputs.read(loaded, 1).network()
    if output is not None:
        files.write(output, module.state_dict())
    start = _as_path(source if output is None else output)
    click.echo(printable(f"it fits; start from it with: mpidl run {config} -s model.init={start}"))


def _as_path(path: Path) -> str:
    """With a slash, so that it is no misspelt word."""
    return str(path) if "/" in str(path) or "." in str(path) else f"./{path}"


def _table(*titles: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        right = title in ("round", "numbers", "of a model")
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    return table
