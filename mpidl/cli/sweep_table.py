"""The table of a sweep, which fills as it goes: redrawn on a terminal, elsewhere a line for each run that has ended."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

import click
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from mpidl import results
from mpidl.analysis.comparison import row
from mpidl.errors import ExitCode
from mpidl.experiment.sweep.member import Member, Report, Standing
from mpidl.sentences import printable
from mpidl.spoken import ABSENT, duration, fraction, number

_TITLES = ("state", "round", "test accuracy", "test loss", "time")
_WIDTHS = (9, 15, 13, 9, 11)
_LONGEST_LABEL = 60
# Rows of a terminal that a table leaves to what else is told.
_ELSEWHERE = 8


class SweepTable:
    """What is known of every run; a context in which it is shown."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._known = {member.number: _before(member) for member in members}
        self._width = min(_LONGEST_LABEL, max(len("run"), *(len(member.label) for member in members)))
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            # No thread of its own: processes are started while it is shown.
            self._live = Live(self._table(), console=self._console, auto_refresh=False, redirect_stdout=False)
            self._live.start(refresh=True)
        else:
            self._line("run", _TITLES)
            for member in self._members:
                if member.standing.is_over:
                    self._tell(member.number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
            self._live.stop()

    def hear(self, report: Report) -> None:
        """Takes up what is told of a run."""
        self._known[report.member] = report
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
        """Draws the table anew."""
        if self._live is not None:
            self._live.update(self._table(), refresh=True)

    def conclude(self, line: str, code: int) -> int:
        """Says what did not finish and why, and what there is now; returns the exit code."""
        for member in self._members:
            report = self._known[member.number]
            if report.sentence:
                click.echo(f"{member.label}: {printable(report.sentence)}", err=True)
        counts = Counter(report.standing for report in self._known.values())
        said = ", ".join(f"{counts[standing]:,} {standing.value}" for standing in Standing if counts[standing])
        click.echo(f"{said}; results in {self._members[0].output.parent}", err=True)
        if line:
            click.echo(line, err=True)
        codes = (self._known[member.number].code for member in self._members)
        return code or next(filter(None, codes), ExitCode.DONE)

    def _tell(self, run: int) -> None:
        self._line(self._members[run].label, _cells(self._known[run]))

    def _line(self, label: str, cells: Sequence[str]) -> None:
        columns = [
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
        ]
        label = printable(label, _LONGEST_LABEL).ljust(self._width)
        click.echo("  ".join([label, *columns]).rstrip(), err=True)

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in ("run", *_TITLES):
            table.add_column(
                title, justify="left" if title in ("run", "state") else "right", overflow="ellipsis", no_wrap=True
            )
        shown, hidden = self._shown()
        for member in shown:
            table.add_row(member.label, *_cells(self._known[member.number]))
        if hidden:
            counts = Counter(self._known[member.number].standing for member in hidden)
            table.add_row(
                f"and {len(hidden):,} more",
                ", ".join(f"{count:,} {standing.value}" for standing, count in counts.items()),
            )
        return table

    def _shown(self) -> tuple[list[Member], list[Member]]:
        """The runs for which a terminal has rows, in their order, and the others; what goes on or went wrong first."""
        room = max(4, self._console.height - _ELSEWHERE)
        if len(self._members) <= room:
            return list(self._members), []
        telling = (Standing.RUNNING, Standing.FAILED, Standing.DIVERGED, Standing.STOPPED, Standing.FINISHED)
        ranked = sorted(
            self._members,
            key=lambda member: (
                telling.index(standing)
                if (standing := self._known[member.number].standing) in telling
                else len(telling),
                -member.number if standing is Standing.FINISHED else member.number,
            ),
        )
        first = {member.number for member in ranked[:room]}
        return [m for m in self._members if m.number in first], [m for m in self._members if m.number not in first]


def _before(member: Member) -> Report:
    """What the file of a run that is over tells."""
    report = Report(member.number, member.standing)
    if not member.standing.is_over:
        return report
    told = row(results.open(member.output))
    diverged = member.standing is Standing.DIVERGED
    return replace(
        report,
        round=told.rounds,
        rounds=told.rounds,
        accuracy=told.accuracy,
        loss=told.loss,
        seconds=told.seconds,
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


def dry(members: Sequence[Member]) -> None:
    """Prints each run, where it stands, and its file."""
    width = max(len(member.label) for member in members)
    for member in members:
        click.echo(f"{printable(member.label).ljust(width)}  {member.standing.value:9}  {member.output}")
