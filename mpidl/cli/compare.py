"""`mpidl compare`: runs side by side in a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mpidl.cli.tables import console, json_line
from mpidl.spoken import amount, duration, fraction, number

if TYPE_CHECKING:
    from rich.table import Table

    from mpidl.analysis.comparison import Row


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN.h5...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per run, each on a line, for other programs.")
def compare(runs: Sequence[Path], as_json: bool) -> None:
    """What runs used, and what they reached.

    Accuracy and loss are the last ones of the consensus model, or of the server's in federated algorithms; bytes are
    those that all agents have sent.
    """
    from mpidl import results
    from mpidl.analysis.comparison import row
    from mpidl.analysis.differences import labels

    opened = [results.open(run) for run in runs]
    rows = [row(run) for run in opened]
    if as_json:
        for run, line in zip(opened, rows, strict=True):
            values = {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in line._asdict().items()
            }
            click.echo(json_line({"path": str(run.path)} | values))
    else:
        console().print(_table(rows, labels(opened)))


def _table(rows: Sequence[Row], labels: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    # What algorithm and graph do not tell apart is told by the keys that differ.
    distinct = len({(row.algorithm, row.graph) for row in rows}) == len(rows)
    columns = {
        "run": [row.name for row in rows],
        "differs in": [] if distinct else labels,
        "algorithm": [row.algorithm for row in rows],
        "graph": [row.graph for row in rows],
        "agents": [number(row.agents) for row in rows],
        "ranks": [number(row.ranks) for row in rows],
        "rounds": [number(row.rounds) for row in rows],
        "test accuracy": [fraction(row.accuracy) for row in rows],
        "test loss": [number(row.loss) for row in rows],
        "bytes sent": [amount(row.bytes) for row in rows],
        "time": [duration(row.seconds) for row in rows],
        "status": [row.status for row in rows] if any(row.status != "finished" for row in rows) else [],
    }
    shown = {title: cells for title, cells in columns.items() if cells}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in shown:
        text = title in ("run", "differs in", "algorithm", "graph", "status")
        table.add_column(title, justify="left" if text else "right", overflow="fold")
    for cells in zip(*shown.values(), strict=True):
        table.add_row(*cells)
    return table
