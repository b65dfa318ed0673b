"""The table of a sweep, which fills as it goes: redrawn on a terminal, elsewhere a line for each run that has ended."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import click
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from mpidl import results
from mpidl.analysis.readings import read
from mpidl.errors import ExitCode
from mpidl.experiment.sweep.member import Member, Report, Standing, VersionChange
from mpidl.sentences import printable
from mpidl.spoken import ABSENT, duration, fraction, number

_TITLES = ("state", "round", "test accuracy", "test loss", "time")
_WIDTHS = (9, 15, 13, 9, 11)
_LONGEST_NAME = 60
# Runs of which the same is said.
_NAMED = 3
_URGENCY = (
    *(Standing.RUNNING, Standing.FAILED, Standing.DIVERGED, Standing.STOPPED),
    *(Standing.FINISHED, Standing.SUBMITTED, Standing.HALF, Standing.WAITING),
)
# Between two drawings.
_SECONDS = 0.2
# Rows of a terminal that a table leaves to what else is told.
_ELSEWHERE = 8


class SweepTable:
    """What is known of every run; a context in which it is shown."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._known = {member.number: _before(member) for member in members}
        self._width = min(_LONGEST_NAME, max(len(name) for name in ("run", *map(_name, members))))
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._drawn, self._changed = 0.0, False

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            # No thread of its own: processes are started while it is shown.
            self._live = Live(
                self._table(*self._shown()),
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)
        else:
            self._line("run", _TITLES)
            for member in self._members:
                if member.standing.is_over or member.standing is Standing.RUNNING:
                    self._tell(member.number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._console.print(self._table(self._members, []))

    def hear(self, report: Report) -> None:
        """Takes up what is told of a run."""
        self._known[report.member], self._changed = report, True
        if self._live is None and report.standing is not Standing.RUNNING:
            self._tell(report.member)

    def write(self, data: bytes) -> None:
        """Passes on what ranks print, above the table."""
        if self._live is None:
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()
        else:
            self._console.out(data.decode(errors="replace").removesuffix("\n"), highlight=False)

    def look(self) -> None:
        """Draws the table anew, where something has changed."""
        now = time.monotonic()
        if self._live is not None and self._changed and now - self._drawn > _SECONDS:
            self._live.update(self._table(*self._shown()), refresh=True)
            self._drawn, self._changed = now, False

    def conclude(self, line: str, code: int) -> int:
        """Says what did not finish and why, and what there is now; returns the exit code."""
        for member in self._members:
            report = self._known[member.number]
            # Where all was stopped, the last line says it.
            if report.sentence and report.standing is not Standing.STOPPED:
                click.echo(f"{_name(member)}: {printable(report.sentence)}", err=True)
        click.echo(f"{self._counted(self._members)}; results in {common_folder(self._members)}", err=True)
        if line:
            click.echo(line, err=True)
        codes = (self._known[member.number].code for member in self._members)
        return code or next(filter(None, codes), ExitCode.DONE)

    def _tell(self, run: int) -> None:
        self._line(_name(self._members[run]), _cells(self._known[run]))

    def _line(self, name: str, cells: Sequence[str]) -> None:
        state, *numbers = cells
        columns = [
            state.ljust(_WIDTHS[0]),
            *(cell.rjust(width) for cell, width in zip(numbers, _WIDTHS[1:], strict=True)),
        ]
        click.echo("  ".join([name.ljust(self._width), *columns]), err=True)

    def _table(self, shown: Sequence[Member], hidden: Sequence[Member]) -> Table:
        """With a row for each of those that are shown."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("run", overflow="ellipsis", no_wrap=True)
        rows = [(_name(member), *_cells(self._known[member.number])) for member in shown]
        for title, cells in zip(_TITLES, list(zip(*rows, strict=True))[1:], strict=True):
            # Where there is no room, it is the name that is cut.
            widest = max(len(title), *map(len, cells))
            table.add_column(title, justify="left" if title == "state" else "right", min_width=widest, no_wrap=True)
        for cells in rows:
            table.add_row(*cells)
        if hidden:
            table.caption = f"and {len(hidden):,} more: {self._counted(hidden)}"
        return table

    def _counted(self, members: Sequence[Member]) -> str:
        """`37 finished, 1 diverged`."""
        counts = Counter(self._known[member.number].standing for member in members)
        return ", ".join(f"{counts[standing]:,} {standing.value}" for standing in Standing if counts[standing])

    def _shown(self) -> tuple[list[Member], list[Member]]:
        """The runs for which a terminal has rows, in their order, and the others; what goes on or went wrong first."""
        room = max(4, self._console.height - _ELSEWHERE)
        first = {member.number for member in sorted(self._members, key=self._urgency)[:room]}
        return (
            [member for member in self._members if member.number in first],
            [member for member in self._members if member.number not in first],
        )

    def _urgency(self, member: Member) -> tuple[int, int]:
        """Less is more urgent: of what is finished the last, of what is to come the first."""
        standing = self._known[member.number].standing
        finished = standing is Standing.FINISHED
        return _URGENCY.index(standing), -member.number if finished else member.number


def common_folder(members: Sequence[Member]) -> Path:
    """The folder of all their files; runs that differ in their names have folders of their own in it."""
    return Path(os.path.commonpath([member.output.parent for member in members]))


def _name(member: Member) -> str:
    """What a run is called here: as its file is."""
    return member.output.stem


def _before(member: Member) -> Report:
    """What the file of a run tells that is over, or that others run."""
    report = Report(member.number, member.standing)
    if not member.standing.is_over and member.standing is not Standing.RUNNING:
        return report
    run = results.open(member.output)
    rounds = int(run.metrics["round"][-1]) if run.records else 0
    diverged = member.standing is Standing.DIVERGED
    return replace(
        report,
        round=rounds,
        rounds=rounds,
        accuracy=read(run, "test_accuracy").value,
        loss=read(run, "test_loss").value,
        seconds=run.last("seconds"),
        sentence="it diverged when it was run before; remove its file to run it again" if diverged else "",
        code=int(ExitCode.DIVERGED if diverged else ExitCode.DONE),
    )


def _cells(report: Report) -> list[str]:
    rounds = f"{report.round:,}/{report.rounds:,}" if report.round < report.rounds else f"{report.round:,}"
    return [
        report.standing.value,
        rounds if report.rounds else ABSENT,
        fraction(report.accuracy),
        number(report.loss),
        duration(report.seconds),
    ]


def tell_changed(members: Sequence[Member]) -> None:
    """Says what was another version when runs were run that are over: they are not run again, whatever that means."""
    names: dict[VersionChange, list[str]] = {}
    for member in members:
        for change in member.changed:
            names.setdefault(change, []).append(_name(member))
    for (what, before, now), runs in names.items():
        more = f", and {len(runs) - _NAMED:,} more" if len(runs) > _NAMED else ""
        click.echo(
            f"{what} is {now}, and was {before} for what is over: {', '.join(runs[:_NAMED])}{more}; that stays as it "
            "is, unless its files are removed",
            err=True,
        )


def dry(members: Sequence[Member]) -> None:
    """Prints each run, where it stands, and its file."""
    for member in members:
        click.echo(f"{member.standing.value:9}  {member.output}")
