"""`mpidl graph`: what a graph costs and how fast it averages, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mpidl.cli import completion
from mpidl.cli.tables import console
from mpidl.errors import ConfigError
from mpidl.graphs.base import TOLERANCE
from mpidl.spoken import amount, counted

if TYPE_CHECKING:
    from mpidl.graphs.base import Graph, Topology
    from mpidl.graphs.spectrum import Spectrum


class Count(click.ParamType[int]):
    """A whole number from 1, which may be written as 25e6."""

    name = "number"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not (1 <= number <= 2**53 and number.is_integer()):
            self.fail(f"{value!r} is not a whole number from 1, such as 1000 or 25e6", param, ctx)
        return int(number)


@click.command()
@click.argument("name", required=False, shell_complete=completion.graphs)
@click.option("-n", "--agents", type=click.IntRange(min=1), default=16, show_default=True, help="Number of agents.")
@click.option(
    "-s", "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the graph, such as rows=4."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of what is random.")
@click.option(
    "-p", "--parameters", type=Count(), metavar="NUMBER", help="Length of a row (float32), for the bytes of a round."
)
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the graphs and their weights (png, pdf, svg)."
)
@click.option(
    "--compare",
    metavar="NAMES",
    shell_complete=completion.graphs,
    help="Rank several graphs, such as ring,torus,exponential.",
)
def graph(
    name: str | None,
    agents: int,
    settings: Sequence[str],
    seed: int,
    parameters: int | None,
    plot: Path | None,
    compare: str | None,
) -> None:
    """Degrees, distances, eigenvalues and messages of the graph NAME, as `mpidl list graphs` has it.

    Rates are per round; over the period of a time-varying graph they are geometric means.
    """
    from mpidl import pictures
    from mpidl.config import override
    from mpidl.graphs import GRAPHS
    from mpidl.graphs.draw import draw, draw_several
    from mpidl.graphs.spectrum import analyse

    names = [part.strip() for part in compare.split(",") if part.strip()] if compare else []
    if name is None and not names:
        raise ConfigError(f"give a graph ({', '.join(sorted(GRAPHS))})", "NAME")
    if name is None and settings:
        raise ConfigError("-s belongs to a graph given as NAME")
    if plot:
        pictures.check(plot, "--plot")
    found: dict[str, tuple[Graph, Topology]] = {}
    spectra: dict[str, Spectrum] = {}
    if name is not None:
        part = GRAPHS.parse(override({"name": name}, settings))
        found[name] = part, part.build(agents, seed)
        spectra[name] = analyse(found[name][1])
    for other, part in {other: _named(other) for other in names if other != name}.items():
        try:
            topology = part.build(agents, seed)
            spectra[other] = analyse(topology)
            found[other] = part, topology
        except ConfigError as error:
            click.echo(f"warning: {other} is left out: {error.message}", err=True)
    if not found:
        raise ConfigError(f"none of these graphs has {agents} agents", "--compare")
    title = counted(agents, "agent")
    if plot:
        figure = (
            draw(*found[name], f"{name}, {title}") if name is not None and not names else draw_several(found, title)
        )
        pictures.save(figure, plot, "--plot")
    if name is not None:
        _print_facts(name, spectra[name], parameters)
    if names:
        _print_ranking(spectra, agents, parameters)
    if plot:
        click.echo(f"drawn: {plot}")


def _named(name: str) -> Graph:
    """A graph of the list to compare."""
    from mpidl.graphs import GRAPHS

    try:
        return GRAPHS.parse(name)
    except ConfigError as error:
        raise ConfigError(error.message, "--compare") from error


def _print_facts(name: str, facts: Spectrum, parameters: int | None) -> None:
    rows = [
        ("agents", str(facts.agents)),
        ("kind", f"{'directed' if facts.directed else 'undirected'}, {_when(facts)}"),
        ("weights", _stochasticity(facts)),
        ("least self-weight", f"{facts.least_self_weight:.4f}{' (negative)' * (facts.least_self_weight < -1e-9)}"),
        ("neighbours", _range(facts.degrees)),
        ("messages per round", f"{facts.messages:g}"),
    ]
    if parameters is not None:
        rows.append(("bytes per round", f"{amount(facts.bytes(parameters))} ({parameters:,} float32 a message)"))
    rows.append(("diameter" if facts.period == 1 else "rounds until all reach all", _or_dash(facts.diameter, "never")))
    if facts.sigma is not None:
        rows.append(("σ₂, singular value of W − J", f"{facts.sigma:.4f}"))
    rows.append(("spectral gap" if facts.period else "spectral gap (measured)", f"{facts.gap:.4g}"))
    if facts.smallest is not None:
        rows.append(("λ_min", f"{facts.smallest:.4f}"))
    rows.append(("rounds to a tenth", _rounds(facts)))
    _table(f"graph {name}", None, rows)
    if not facts.connected:
        click.echo("warning: not connected; the agents can never agree", err=True)
    elif facts.modulus >= 1 - TOLERANCE:
        click.echo("warning: mixing with these weights never averages; make the self-weights larger", err=True)
    if not facts.doubly_stochastic:
        click.echo("warning: not doubly stochastic; gossip is biased on it, push algorithms (sgp) are not", err=True)


def _print_ranking(spectra: dict[str, Spectrum], agents: int, parameters: int | None) -> None:
    rows = []
    for name, facts in sorted(spectra.items(), key=lambda item: (item[1].rounds_per_digit, item[1].messages)):
        size = [] if parameters is None else [amount(facts.bytes(parameters))]
        sigma = "–" if facts.sigma is None else f"{facts.sigma:.4f}"
        reach = _or_dash(facts.diameter, "never")
        cost = f"{facts.rounds_per_digit * facts.messages:,.0f}"
        row = [name, _range(facts.degrees), f"{facts.messages:g}", *size, reach, sigma, f"{facts.gap:.4f}"]
        rows.append([*row, _rounds(facts), cost])
    header = ["graph", "neigh-\nbours", "mes-\nsages", "bytes", "dia-\nmeter", "σ₂", "gap", "rounds to\na tenth"]
    header += ["messages\nto a tenth"]
    if parameters is None:
        header.remove("bytes")
    _table(f"{agents} agents, the fastest first; messages, σ₂ and gap are per round", header, rows)


def _table(title: str, header: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE, show_header=header is not None, padding=(0, 1, 0, 0))
    for place, label in enumerate(header or ("", "")):
        table.add_column(label, justify="right" if header and place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console().print(table)


def _when(facts: Spectrum) -> str:
    return {1: "static", None: "drawn anew every round"}.get(facts.period, f"period {facts.period}")


def _stochasticity(facts: Spectrum) -> str:
    if facts.doubly_stochastic:
        return "doubly stochastic" + ", symmetric" * facts.symmetric
    return "column stochastic" if facts.column_stochastic else "not stochastic"


def _range(degrees: tuple[int, int]) -> str:
    return str(degrees[0]) if degrees[0] == degrees[1] else f"{degrees[0]} to {degrees[1]}"


def _or_dash(value: Any, otherwise: str) -> str:
    return otherwise if value is None else str(value)


def _rounds(facts: Spectrum) -> str:
    if facts.exact:
        return f"{facts.period or 1} (exact)"
    return f"{facts.rounds_per_digit:.1f}"
