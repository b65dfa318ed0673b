"""`mpidl plot`: runs, or what was found about them, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mpidl.analysis.figures import KINDS, Options, draw
from mpidl.cli import options
from mpidl.cli import runs as given
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@click.command(epilog="Kinds: " + "; ".join(f"{name}: {kind.answers}" for name, kind in KINDS.items()) + ".")
@click.argument("runs", nargs=-1, required=True, metavar=given.METAVAR)
@click.option("-k", "--kind", metavar="KIND", help="What to draw, see below; default: curves.")
@options.output("OUT.png", "Where to write the picture (PNG, PDF or SVG); default: KIND.png.")
@options.metrics("A panel column; may be repeated.")
@click.option(
    "-x", "--against", "axes", multiple=True, metavar="AXIS", help="round, epoch, seconds or bytes; may be repeated."
)
@options.grouping("Runs that differ in nothing but the seed as one line, or each by itself.")
@click.option("--linear", is_flag=True, help="Accuracies and losses as they are, on linear axes.")
@click.option("--title", metavar="TEXT", help="Of the picture; default: what all runs have in common.")
def plot(
    runs: Sequence[str],
    kind: str | None,
    output: Path | None,
    metrics: Sequence[str],
    axes: Sequence[str],
    by: Sequence[str],
    group: bool,
    linear: bool,
    title: str | None,
) -> None:
    """Runs in one picture; folders and patterns name all run files in them.

    The legend names what the runs' configurations differ in. Runs that differ in nothing but their seed are one line,
    their mean, in a band of one standard deviation. Accuracies near the top are shown as error rates.

    Of files that `mpidl analyze` wrote, what was found, a row of panels for each file and kind; -k names one.
    """
    from mpidl import pictures
    from mpidl.results import findings

    # A pattern names what lies beside runs, too.
    beside = {findings.beside(Path(run)) for run in runs}
    runs = [run for run in runs if Path(run) not in beside]
    analyses = [Path(run) for run in runs if findings.is_findings(Path(run))]
    if analyses and len(analyses) < len(runs):
        raise ConfigError("runs and analyses of runs do not go into one picture; draw them apart", "RUN.h5")
    wanted = Options(tuple(metrics), tuple(axes), title, group, tuple(by), linear)
    output = output or Path("analysis.png" if analyses else f"{kind or 'curves'}.png")
    pictures.check(output, "-o")
    if analyses:
        figure = _of_analyses(analyses, kind, wanted)
    else:
        figure = draw(kind or "curves", given.all_opened(runs), wanted)
    pictures.save(figure, output, "-o")
    click.echo(str(output))


def _of_analyses(paths: Sequence[Path], kind: str | None, wanted: Options) -> Figure:
    from mpidl.analysis.figures import panels
    from mpidl.results import findings

    said = {
        "--against": wanted.axes,
        "--title": wanted.title,
        "--by": wanted.by,
        "--no-group": not wanted.group,
        "--linear": wanted.linear,
    }
    for option, value in said.items():
        if value:
            raise ConfigError("is for pictures of runs; leave it out", option)
    kinds = (*wanted.metrics, *([] if kind is None else [kind]))
    return panels.draw([findings.open(path) for path in paths], kinds)
