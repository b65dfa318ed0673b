"""`mpidl compare`: runs, or groups of them, side by side in a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mpidl.cli import options
from mpidl.cli import runs as given
from mpidl.cli.tables import console, facts, json_line, print_fitting
from mpidl.errors import ConfigError, quoted
from mpidl.spoken import is_fraction

if TYPE_CHECKING:
    from mpidl.analysis.comparison import Comparison

_FORMATS = ("table", "markdown", "latex", "csv", "json")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_MORE = "a wider window, a pipe, or --format markdown has them"


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar=given.METAVAR)
@options.metrics("A metric; may be repeated. Default: test accuracy and loss.")
@click.option(
    "--at",
    default="end",
    show_default=True,
    metavar="WHEN",
    help="When metrics are read: end, best, or a budget, as in '100 rounds', '5 epochs', '10 MB', '60 s'.",
)
@click.option(
    "--to", "target", metavar="VALUE", help="Also what it took to bring the first metric to this, as 0.95 or 95%."
)
@options.grouping("Runs that differ in nothing but the seed in one row, or each in its own.")
@click.option(
    "-f", "--format", "form", type=click.Choice(_FORMATS), default="table", show_default=True, help="How it is written."
)
@click.option("--json", "as_json", is_flag=True, help="As --format json: one object per row, each on a line.")
def compare(
    runs: Sequence[str],
    metrics: Sequence[str],
    at: str,
    target: str | None,
    by: Sequence[str],
    group: bool,
    form: str,
    as_json: bool,
) -> int:
    """What runs used, and what they reached: run files, folders of them, or patterns such as 'runs/*lr=0.1*'.

    Runs that differ in nothing but the seed are one row, of means ± standard deviations; what all runs have in common
    stands once above the table. With --at a budget, values are the last that were measured when no more was spent. With
    --to rounds, bytes and seconds are those of the first record that has it. Accuracy and loss are those of the
    consensus model, or of the server's; bytes are those that all agents have sent.

    A file that cannot be read is told, and the others are shown; the exit code is 2 where it was named itself.
    """
    from mpidl.analysis import comparison, groups
    from mpidl.analysis.readings import Instant

    moment, wanted = Instant.parse(at, "--at"), tuple(metrics) or comparison.METRICS
    value = None if target is None else _value(target, wanted[0])
    found, code = given.glanced(runs, wanted)
    rows = groups.grouped(found, by or None) if group else groups.alone(found)
    compared = comparison.compare(found, wanted, moment, value, rows)
    _write(compared, "json" if as_json else form)
    return code


def _value(text: str, metric: str) -> float:
    """A number, or per cent."""
    match = re.fullmatch(rf"\s*({_NUMBER})\s*(%?)\s*", text)
    if match is None:
        numbers = re.findall(_NUMBER, text.replace(",", "."))
        per_cent = "%" if len(numbers) == 1 and is_fraction(metric) and 1 < float(numbers[0]) <= 100 else ""
        cure = f"did you mean {numbers[0]}{per_cent}?" if len(numbers) == 1 else "write 0.95 or 95%"
        raise ConfigError(f"{quoted(text)} is no number; {cure}", "--to")
    return float(match[1]) / (100 if match[2] else 1)


def _write(compared: Comparison, form: str) -> None:
    from mpidl.analysis import formats

    if form == "table":
        console().print(facts(compared.constant))
        print_fitting(compared.columns, _MORE)
        for note in compared.notes:
            console().print(note)
    elif form == "json":
        for record in compared.records:
            click.echo(json_line(record))
    else:
        write = {"markdown": formats.markdown, "latex": formats.latex, "csv": formats.comma_separated}[form]
        click.echo(write(compared), nl=False)
