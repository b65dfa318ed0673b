"""`mpidl plot`: curves of one or more runs as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from mpidl.cli import options
from mpidl.errors import ConfigError


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE.h5...")
@options.output("OUT.png", "Where to write the picture.", default=Path("curves.png"), show_default=True)
@click.option(
    "-m",
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="A panel column, or a kind of analysis; may be repeated.",
)
@click.option(
    "-x", "--against", "axes", multiple=True, metavar="AXIS", help="round, epoch, seconds or bytes; may be repeated."
)
def plot(runs: Sequence[Path], output: Path, metrics: Sequence[str], axes: Sequence[str]) -> None:
    """Curves of runs in one picture (PNG, PDF or SVG): test accuracy, test loss and consensus distance against epochs
    and bytes, unless other metrics or axes are named. The legend names what the runs' configurations differ in.

    Of files that `mpidl analyze` wrote, what was found, a row of panels for each kind and file.
    """
    from mpidl import pictures, results
    from mpidl.analysis import curves, panels
    from mpidl.results import findings

    pictures.check(output, "-o")
    analyses = [run for run in runs if findings.is_findings(run)]
    if analyses and len(analyses) < len(runs):
        raise ConfigError("runs and analyses of runs do not go into one picture; draw them apart", "FILE.h5")
    if analyses:
        if axes:
            raise ConfigError("is for curves of runs; leave it out", "--against")
        figure = panels.draw([findings.open(run) for run in runs], metrics)
    else:
        figure = curves.draw([results.open(run) for run in runs], metrics or curves.METRICS, axes or curves.AXES)
    pictures.save(figure, output, "-o")
    click.echo(str(output))
