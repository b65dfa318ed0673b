"""The run files that a command is given: files, folders and patterns; and what it says of those that it cannot read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from mpidl.errors import ExitCode
from mpidl.sentences import printable

if TYPE_CHECKING:
    from mpidl.errors import ResultsError
    from mpidl.results import Glance, Opened, Run

Kind = TypeVar("Kind", bound="Glance")

METAVAR = "RUN.h5|FOLDER|PATTERN..."


def opened(words: Sequence[str]) -> tuple[list[Run], ExitCode]:
    """The runs that can be read, and the exit code of a command that does with them what it was asked to.

    Of each other file a sentence goes to where errors do. The code is that of a mistake where such a file was named
    itself; one that was found in a folder, or by a pattern in quotes, does not fail the command. ResultsError where no
    run is left.
    """
    from mpidl import results

    return _told(results.open_all(words))


def all_opened(words: Sequence[str]) -> list[Run]:
    """The same for a command whose output cannot tell what it lacks: ResultsError also where a file that was named
    itself cannot be read.
    """
    from mpidl import results

    found = results.open_all(words)
    if found.missed:
        raise found.missed[0]
    return _told(found)[0]


def glanced(words: Sequence[str], metrics: Sequence[str]) -> tuple[list[Glance], ExitCode]:
    """The same at a glance, with these metrics."""
    from mpidl import results

    return _told(results.glance_all(words, metrics))


def _told(found: Opened[Kind]) -> tuple[list[Kind], ExitCode]:
    for error in found.unreadable:
        left_out(error)
    for error in found.others:
        click.echo(f"mpidl: passed over: {printable(str(error))}", err=True)
    return found.runs, ExitCode.USAGE if found.missed else ExitCode.DONE


def left_out(why: ResultsError) -> None:
    """Says why one of many runs has no part in what follows."""
    click.echo(f"mpidl: left out: {printable(str(why))}", err=True)
