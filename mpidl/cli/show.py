"""`mpidl show`: what is in a run file, also while it is being written."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mpidl.cli.tables import console, json_line
from mpidl.results.lock import holder
from mpidl.results.names import SIGNALS
from mpidl.sentences import printable
from mpidl.spoken import ABSENT, counted, duration, measured, number, of_metric, placed

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from mpidl.results import Run

_WATCH_SECONDS = 1.0
_EVENTS_SHOWN = 12

# Sections of a configuration that are told in one line each, in this order.
_SECTIONS = ("model", "data", "algorithm", "graph", "gossip", "schedule", "train")


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN.h5")
@click.option("--watch", is_flag=True, help="Follow a run that is being written, until it ends; or is yet to begin.")
@click.option("--timing", is_flag=True, help="Also where the seconds and the bytes of the ranks went.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for other programs.")
def show(run: Path, watch: bool, timing: bool, as_json: bool) -> None:
    """What is in a run file: its configuration in short, how it stands, its last record and best values, its events.

    A running run may be looked at at any time, also from another machine: the file is opened without a lock.
    """
    from mpidl import results

    if watch:
        _await(run)
    opened = results.open(run)
    if watch:
        _watch(opened, timing, as_json)
    elif as_json:
        click.echo(json_line(_summary(opened, timing)))
    else:
        # All of it is read before anything is printed.
        for part in list(_parts(opened, timing)):
            console().print(part)


def _await(path: Path) -> None:
    """Returns when there is a file: a run makes its own once all of it is seen to be right."""
    from mpidl.errors import ResultsError
    from mpidl.results.output import SUFFIXES

    if not path.exists() and path.suffix.lower() not in SUFFIXES:
        raise ResultsError(f"{str(path)!r} is not there, nor will be: the name of a run file ends in .h5")
    if not path.exists():
        click.echo(f"waiting for {str(path)!r}, which is not there yet; Ctrl-C ends it", err=True)
    while not path.exists():
        time.sleep(_WATCH_SECONDS)


def _watch(run: Run, timing: bool, as_json: bool) -> None:
    """Shows each new state of the run until it ends: in place on a terminal, otherwise one line per record."""
    out = console()
    if as_json or not out.is_terminal:
        _watch_lines(run, as_json)
        return
    from rich.console import Group
    from rich.live import Live

    with Live(Group(), console=out, auto_refresh=False) as live:
        for state in _states(run):
            live.update(Group(*_that_fit(state, timing, out)), refresh=True)


def _watch_lines(run: Run, as_json: bool) -> None:
    shown = 0
    for state in _states(run):
        # After a resume that went back, the records from there on are new.
        for record in range(min(shown, state.records), state.records):
            values = _record(state, record)
            if as_json:
                click.echo(json_line(values))
            else:
                told = (
                    f"{printable(name)} {_cell(state, name, value)}"
                    for name, value in values.items()
                    if value is not None
                )
                click.echo("  ".join(told))
        shown = state.records
    if not as_json:
        click.echo(printable(_standing(state)))


def _states(run: Run) -> Iterator[Run]:
    """The run now, and again whenever its file was written, until it no longer runs."""
    from mpidl import results

    yield run
    written = _version(run.path)
    while run.status == "running" and not run.abandoned:
        time.sleep(_WATCH_SECONDS)
        if (now := _version(run.path)) != written:
            written = now
            run = results.open(run.path)
            yield run


def _version(path: Path) -> tuple[int, ...]:
    """What changes when a file is written or replaced."""
    status = path.stat() if path.exists() else None
    return (status.st_ino, status.st_mtime_ns, status.st_size) if status else ()


def _parts(
    run: Run, timing: bool, facts: bool = True, events: int = _EVENTS_SHOWN, metrics: int | None = None
) -> Iterator[RenderableType]:
    """All that is shown of a run, or without its facts, or with so many of its events or metrics."""
    from rich.text import Text

    yield Text.assemble((printable(run.name or run.path.stem), "bold"), "  ", printable(_standing(run)))
    if facts:
        yield _facts(run)
    if run.records and metrics != 0:
        yield _metrics(run, metrics)
    if timing and len(run.timing):
        yield _timing(run)
    if run.events and events:
        yield _events(run, events)


def _that_fit(run: Run, timing: bool, out: Console) -> list[RenderableType]:
    """As much as a window holds: events go first, then what does not change, then timing and the lesser metrics."""
    room = out.height - 1
    whole = list(_parts(run, timing))
    if _height(whole, out) <= room:
        return whole
    # Without the path, which may take a small window's last lines.
    more = "(this window is too small for more; all is shown without --watch)"
    for facts, events in ((True, 3), (False, 3), (False, 1)):
        parts = [*_parts(run, timing, facts, events), more]
        if _height(parts, out) <= room:
            return parts
    # Without a row a table has its title and lines still.
    bare = _height([*_parts(run, False, False, 0, 0), *([_metrics(run, 1)] if run.records else []), more], out)
    return [*_parts(run, False, False, 0, max(0, room - bare + 1)), more]


def _height(parts: Sequence[RenderableType], out: Console) -> int:
    """How many lines they take."""
    return sum(len(out.render_lines(part, pad=False)) for part in parts)


def _standing(run: Run) -> str:
    """How the run stands, in a few words."""
    how = f": its process is gone, its last words are of {run.updated}" if run.loss else ""
    if run.loss == "silent" and (writer := holder(run.path)) is not None:
        how = f": {writer} has given no sign of life for {duration(round(writer.silent))}; it is gone, or stopped"
    elif run.status == "running" and not run.loss:
        since = datetime.now(UTC) - datetime.fromisoformat(run.updated)
        how = f", last written {duration(max(0.0, round(since.total_seconds())))} ago"
    return f"{run.standing}{how}; {run.records} records"


def _facts(run: Run) -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    config, provenance = run.config, run.provenance
    for key in _SECTIONS:
        if config.get(key) is not None:
            table.add_row(key, _in_short(config[key]))
    hosts = list(provenance.get("hosts", ()))
    over = f" over {counted(len(hosts), 'rank')} ({placed(hosts)})" if hosts else ""
    table.add_row("agents", f"{run.agents}{over}")
    if provenance.get("transport"):
        table.add_row("exchange", str(provenance["transport"]))
    if run.kept:
        rounds = [f"{kept.group if kept.group == 'best' else 'after'} round {kept.round}" for kept in run.kept]
        named = rounds if len(rounds) < 4 else [rounds[0], "…", *rounds[-2:]]
        table.add_row("models kept", f"{', '.join(sorted(run.kept[0].models))}; {', '.join(named)}")
    commit = str(provenance.get("git_commit", ""))[:12]
    if commit:
        table.add_row("code", f"git {commit}" + (" with changes" if provenance.get("git_dirty") else ""))
    table.add_row("time", f"{run.created} to {run.finished or run.updated}")
    return table


def _in_short(section: Any) -> str:
    """`dsgd, lr 0.1, momentum 0.9` of `{name: dsgd, lr: 0.1, …}`."""
    if not isinstance(section, Mapping):
        return str(section)
    head = [str(section["name"])] if "name" in section else []
    rest = (
        f"{key} {'(' + _in_short(value) + ')' if isinstance(value, Mapping) else value}"
        for key, value in section.items()
        if key != "name" and value not in (None, False)
    )
    return ", ".join([*head, *rest])


def _metrics(run: Run, most: int | None = None) -> Table:
    """All metrics, or so many of them, those that tell most."""
    from rich import box
    from rich.table import Table

    from mpidl.analysis.readings import read

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for title in ("last", "best", "in round"):
        table.add_column(title, justify="right", no_wrap=True)
    telling = sorted(run.metrics, key=lambda name: name not in ("round", *SIGNALS))[:most]
    for name in (name for name in run.metrics if name in telling):
        last, about = read(run, name), ["mean of agents"] if run.metrics[name].ndim > 1 else []
        if last.record is not None and last.record < run.records - 1:
            about.append(f"in round {number(run.metrics['round'][last.record])}")
        best = run.best(name) if "accuracy" in name or "loss" in name else None
        shown = (_cell(run, name, best.value), number(best.round)) if best else ("", "")
        table.add_row(f"{name} ({', '.join(about)})" if about else name, _cell(run, name, last.value), *shown)
    return table


def _cell(run: Run, name: str, value: float) -> str:
    return of_metric(name, value, run.units(name))


def _timing(run: Run) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("in the whole run, by rank")
    for title in ("mean", "least", "most", "on rank"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, total in sorted(_totals(run).items(), key=lambda item: (run.units(item[0]), -sum(item[1]))):
        mean, most = sum(total) / len(total), max(total)
        cells = (measured(value, run.units(name)) for value in (mean, min(total), most))
        table.add_row(name, *cells, str(total.index(most)) if most > min(total) else ABSENT)
    return table


def _totals(run: Run) -> dict[str, list[float]]:
    """Each meter over the whole run, by rank."""
    return {name: run.timing_total(name).tolist() for name in run.timing}


def _events(run: Run, most: int) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    for place in range(4):
        # What happened is told in words, over as many lines as it takes.
        table.add_column(no_wrap=place < 3)
    hidden = len(run.events) - most
    if hidden > 0:
        table.add_row("", "", "", f"({hidden} earlier events: --json has them)")
    for event in run.events[-most:]:
        when = datetime.fromtimestamp(event.time, UTC).strftime("%H:%M:%S")
        table.add_row(when, "" if event.round < 0 else f"round {event.round}", event.kind, event.text)
    return table


def _record(run: Run, record: int) -> dict[str, float | None]:
    """One record, metrics that agents have a value of each by their mean; None where not measured."""
    values = {name: float(run.curve(name)[record]) for name in run.metrics}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _summary(run: Run, timing: bool) -> dict[str, Any]:
    best = {name: run.best(name) for name in run.metrics if "accuracy" in name or "loss" in name}
    return {
        "path": str(run.path),
        "name": run.name,
        "status": run.status,
        "abandoned": run.abandoned,
        "agents": run.agents,
        "records": run.records,
        "created": run.created,
        "updated": run.updated,
        "finished": run.finished,
        "config": run.config,
        "provenance": run.provenance,
        "last": _record(run, run.records - 1) if run.records else {},
        "best": {name: value._asdict() for name, value in best.items() if value},
        "events": [event._asdict() for event in run.events],
    } | ({"timing": _totals(run)} if timing else {})
