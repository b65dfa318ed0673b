"""Every error a user can cause, each with the exit code that the command line returns for it.

Each class also inherits the built-in exception that a caller would expect, so that either can be caught.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MpidlError(Exception):
    """Base of all errors that end in one sentence instead of a traceback."""

    exit_code = 1


class ConfigError(MpidlError, ValueError):
    """A configuration or a command line that cannot be run; `key` is the culprit's dotted path."""

    exit_code = 2

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(f"{key}: {message}" if key else message)
        self.key = key
        self.message = message


class DataError(MpidlError, ValueError):
    """A data file that is missing, damaged or not what it claims to be."""

    exit_code = 2


class ResultsError(MpidlError, OSError):
    """A run file that cannot be read or written."""

    exit_code = 2


class LaunchError(MpidlError, RuntimeError):
    """MPI, or its launcher, is missing or does not fit."""

    exit_code = 2


class DivergenceError(MpidlError, ArithmeticError):
    """A loss or a parameter stopped being finite."""

    exit_code = 3


class SaveError(MpidlError, OSError):
    """Training went on, but something could not be saved."""

    exit_code = 4


class CommunicationError(MpidlError, RuntimeError):
    """Two ranks disagree about what they exchange, or one of them is gone."""

    exit_code = 5


def nearest(value: object, choices: Iterable[str]) -> str | None:
    """The choice that is written most like this value, if any is like it."""
    close = difflib.get_close_matches(str(value), list(choices), n=1, cutoff=0.5)
    return close[0] if close else None


def choices_sentence(value: object, choices: Iterable[str]) -> str:
    """`'metropolise' is not known; did you mean 'metropolis'? (lazy, metropolis, uniform)`."""
    known = sorted(choices)
    close = nearest(value, known)
    hint = f"; did you mean {close!r}?" if close else ""
    return f"{value!r} is not known{hint} ({', '.join(known)})"
