"""`mpidl report`: runs as one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from mpidl.cli import options
from mpidl.cli import runs as given
from mpidl.errors import ConfigError

_FORMATS = (".html", ".htm")


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar=given.METAVAR)
@options.output("OUT.html", "Where to write the page.", default=Path("report.html"), show_default=True)
@click.option("--title", metavar="TEXT", help="Of the page; default: what all runs have in common.")
def report(runs: Sequence[str], output: Path, title: str | None) -> None:
    """Make a page about runs: what they differ in and have in common, what they reached, curves and other pictures,
    what `mpidl analyze` has found out about them, configurations, provenance and events.

    Folders and patterns name all run files in them; runs that differ in nothing but their seed are told together. The
    page is one file without scripts, which loads nothing from anywhere: it can be read, printed and sent as it is.
    """
    from mpidl import pictures, results
    from mpidl.analysis.report import MOST_RUNS, page
    from mpidl.results.output import check_output, write_text

    pictures.check(output, "-o", _FORMATS)
    check_output(output, overwrite=True, is_ours=lambda path: True)
    opened = results.open_all(runs)
    for problem in opened.missed:
        raise problem
    if len(opened.runs) > MOST_RUNS:
        raise ConfigError(f"{len(opened.runs):,} runs are more than a page is for; name up to {MOST_RUNS}", "RUN.h5")
    write_text(output, [page(opened.runs, title, [f"Left out: {problem}" for problem in opened.unreadable])])
    click.echo(str(output))
