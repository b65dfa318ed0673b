"""`mpidl evaluate`: measures a model that a run has kept, and says what the run has recorded of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mpidl.cli import options
from mpidl.cli.options import round_or_best
from mpidl.cli.tables import console, json_line
from mpidl.spoken import ABSENT, number, of_metric

if TYPE_CHECKING:
    from mpidl.experiment.measuring import Measured


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN.h5")
@options.model()
@options.of_round()
@click.option("--data", metavar="DATA", help="Other data, as in a configuration: mnist, or '{name: npz, …}'.")
@options.settings("overrides", "Replace a key, as in data.root=/d.")
@options.plug_ins()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per measurement, each on a line.")
def evaluate(
    run: Path,
    model: str | None,
    of_round: str | None,
    data: str | None,
    overrides: Sequence[str],
    plug_ins: bool,
    as_json: bool,
) -> None:
    """Measure a model that RUN.h5 keeps, in one process, beside what the run has recorded of it.

    On the processor and the versions of the run both are the same, to the last bit.
    """
    from mpidl import results
    from mpidl.experiment.measuring import measure

    opened = results.open(run)
    measured = measure(opened, model, round_or_best(of_round), data, overrides, plug_ins)
    if as_json:
        for each in measured:
            click.echo(json_line({"path": str(run)} | asdict(each)))
        return
    _print(measured)
    if any(each.recorded is not None and each.recorded != each.value for each in measured):
        click.echo("They differ: equal bits need the versions, the processor and the settings of the run.", err=True)


def _apart(value: float, recorded: float) -> str:
    """By how much two numbers differ that may look alike."""
    return "no bit" if value == recorded else f"{abs(value - recorded):.2g}"


def _print(measured: Sequence[Measured]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("", "measured", "recorded", "apart", "after round"):
        table.add_column(title, justify="right" if title else "left")
    for each in measured:
        name = each.metric if each.agent is None else f"{each.metric} of agent {each.agent}"
        recorded = math.nan if each.recorded is None else each.recorded
        apart = ABSENT if each.recorded is None else _apart(each.value, each.recorded)
        measured_and_recorded = (of_metric(each.metric, value) for value in (each.value, recorded))
        table.add_row(name, *measured_and_recorded, apart, number(each.round))
    console().print(table)
