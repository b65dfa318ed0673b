"""`mpidl partition`: how a split divides the data, classes × agents, before anyone trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mpidl.cli import options
from mpidl.cli.tables import console
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

# More columns than this would not fit a terminal.
_MOST_COLUMNS = 20


@click.command()
@click.argument("config", type=click.Path(path_type=Path), metavar="CONFIG")
@options.settings("settings", "Override a key, as for mpidl run.")
@click.option("-n", "--agents", type=click.IntRange(min=1), help="Agents, where the configuration says 'auto'.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the division (png, pdf, svg) as well."
)
def partition(config: Path, settings: Sequence[str], agents: int | None, plot: Path | None) -> None:
    """Examples of each class with each agent, as the run of CONFIG would divide them."""
    from mpidl import experiment, pictures

    if plot:
        pictures.check(plot, "--plot")
    loaded = experiment.load(config, settings)
    number = agents or loaded.agents
    if number == "auto":
        raise ConfigError("is 'auto', one per rank; say how many with -n, or -s agents=16", "agents")
    dataset = loaded.data.load()
    shares = loaded.data.deal(dataset, number, loaded.seed)
    counts = shares.class_counts(dataset.labels, dataset.outputs) if dataset.task == "classification" else None
    title = f"{loaded.data.name}, {loaded.data.split.name}, seed {loaded.seed}"
    _print_table(title, shares.sizes, counts)
    aside = f"; {len(shares.validation)} for validation" if len(shares.validation) else ""
    unused = len(dataset) - int(shares.sizes.sum()) - len(shares.validation)
    click.echo(f"{len(dataset)} training examples{aside}{f'; {unused} unused' if unused else ''}")
    for warning in (*dataset.warnings, *shares.warnings):
        click.echo(f"warning: {warning}", err=True)
    if plot:
        from mpidl.data.draw import draw

        pictures.save(draw(shares.sizes, counts, title, dataset.class_names), plot, "--plot")
        click.echo(f"drawn: {plot}")


def _print_table(title: str, sizes: np.ndarray, counts: np.ndarray | None) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    click.echo(title)
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    narrow = counts is not None and counts.shape[1] <= _MOST_COLUMNS
    columns = ["agent", "examples"]
    if counts is not None:
        columns += [str(label) for label in range(counts.shape[1])] if narrow else ["classes", "largest class"]
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for agent, size in enumerate(sizes):
        cells = [str(agent), str(size)]
        if counts is not None and narrow:
            cells += [str(count) if count else "·" for count in counts[agent]]
        elif counts is not None:
            cells += [str((counts[agent] > 0).sum()), f"{counts[agent].max() / size:.0%} ({counts[agent].argmax()})"]
        table.add_row(*cells)
    console().print(table)
