"""`mpidl export`: the records of runs as a table for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from mpidl.cli import options
from mpidl.cli import runs as given
from mpidl.cli.tables import json_line
from mpidl.errors import ConfigError
from mpidl.sentences import printable

_FORMATS = (".csv", ".json")


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar=given.METAVAR)
@options.output("OUT.csv|.json", "Where to write the table; default: CSV, to where output goes.")
@click.option("-m", "--metric", "metrics", multiple=True, metavar="NAME", help="Only this metric; may be repeated.")
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

    found, code = given.opened(runs)
    titles, rows = records.rows(found, by_agent, metrics)
    lines = _csv(titles, rows) if output is None or output.suffix.lower() == ".csv" else _json(titles, rows)
    if output is None:
        for line in lines:
            click.echo(line, nl=False)
    else:
        _save(output, lines)
        click.echo(str(output))
    return code


def _check(output: Path, overwrite: bool) -> None:
    from mpidl.results.output import check_output

    if output.suffix.lower() not in _FORMATS:
        cure = "; results.open(path).frame() gives pandas, which writes others" if output.suffix else ""
        raise ConfigError(f"{str(output)!r} must end in one of {', '.join(_FORMATS)}{cure}", "-o")
    check_output(output, overwrite, is_ours=lambda path: True)


def _csv(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield _line(titles)
    for row in rows:
        yield _line([json_line(value) if isinstance(value, list | dict | bool) else value for value in row])


def _line(row: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([_safe(value) for value in row])
    return line.getvalue()


def _safe(value: Any) -> Any:
    """A text that neither acts on a terminal nor cannot be written."""
    return printable(value) if isinstance(value, str) and not value.isprintable() else value


def _json(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """A list of objects, each on a line."""
    before = "[\n"
    for row in rows:
        yield before + json_line(dict(zip(titles, row, strict=True)))
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _save(output: Path, lines: Iterable[str]) -> None:
    from mpidl.results.output import unwritable

    part = output.with_name(f"{output.name}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
        part.replace(output)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritable(output, error) from error
