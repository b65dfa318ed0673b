"""`mpidl export`: the records of runs as a table for other programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import click

from mpidl.cli import options
from mpidl.cli import runs as given
from mpidl.cli.tables import json_line
from mpidl.errors import ConfigError

_FORMATS = (".csv", ".json")


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar=given.METAVAR)
@options.output("OUT.csv|.json", "Where to write the table; default: CSV, to where output goes.")
@options.metrics("Only this metric; may be repeated.")
@click.option(
    "--long", "by_agent", is_flag=True, help="A row for each value, of each agent's own, too, with its metric."
)
@options.overwrite()
def export(runs: Sequence[str], output: Path | None, metrics: Sequence[str], by_agent: bool, overwrite: bool) -> int:
    """The records of runs as one table, in CSV or JSON: for each record the run, its file, the settings in which runs
    differ, round, epoch, seconds and bytes, and all metrics, not rounded; of what agents have a value of each, the
    mean.

    What was not measured is empty in CSV and null in JSON. In Python `mpidl.results.open(path).frame()` is the table of
    one run as a pandas DataFrame, and `mpidl.analysis.records.frame(runs)` that of many.
    """
    if output is not None:
        _check(output, overwrite)

    from mpidl.analysis import records
    from mpidl.analysis.formats import csv_line
    from mpidl.results.output import write_text

    found, code = given.opened(runs)
    titles, rows = records.rows(found, by_agent, metrics)
    is_csv = output is None or output.suffix.lower() == ".csv"
    lines = map(csv_line, chain([titles], rows)) if is_csv else _json(titles, rows)
    if output is None:
        for line in lines:
            click.echo(line, nl=False)
    else:
        write_text(output, lines)
        click.echo(str(output))
    return code


def _check(output: Path, overwrite: bool) -> None:
    from mpidl.results.output import check_output

    if output.suffix.lower() not in _FORMATS:
        cure = "; results.open(path).frame() gives pandas, which writes others" if output.suffix else ""
        raise ConfigError(f"{str(output)!r} must end in one of {', '.join(_FORMATS)}{cure}", "-o")
    check_output(output, overwrite, is_ours=lambda path: True)


def _json(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """A list of objects, each on a line."""
    before = "[\n"
    for row in rows:
        yield before + json_line(dict(zip(titles, row, strict=True)))
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"
