"""`mpidl plot`: curves of one or more runs as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN.h5...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("curves.png"),
    metavar="OUT.png",
    show_default=True,
    help="Where to write the picture.",
)
@click.option("-m", "--metric", "metrics", multiple=True, metavar="NAME", help="A panel column; may be repeated.")
@click.option(
    "-x", "--against", "axes", multiple=True, metavar="AXIS", help="round, epoch, seconds or bytes; may be repeated."
)
def plot(runs: Sequence[Path], output: Path, metrics: Sequence[str], axes: Sequence[str]) -> None:
    """Curves of runs in one picture (PNG, PDF or SVG): test accuracy, test loss and consensus distance against epochs
    and bytes, unless other metrics or axes are named. The legend names what the runs' configurations differ in."""
    from mpidl import pictures, results
    from mpidl.analysis import curves

    pictures.check(output, "-o")
    figure = curves.draw([results.open(run) for run in runs], metrics or curves.METRICS, axes or curves.AXES)
    pictures.save(figure, output, "-o")
    click.echo(str(output))
