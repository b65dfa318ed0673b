"""Every error a user can cause, each with the exit code that the command line returns for it.

Each class also inherits the built-in exception that a caller would expect, so that either can be caught.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """How a command ended; `meaning` is what a person is told of it. 128 + n stands for signal n, as in a shell."""

    meaning: str

    DONE = 0, "done"
    INTERNAL = 1, "internal error"
    USAGE = 2, "usage, configuration or data"
    DIVERGED = 3, "diverged"
    NOT_SAVED = 4, "finished, but something could not be saved"
    COMMUNICATION = 5, "communication"
    STOPPED = 75, "stopped after a checkpoint, go on with --resume"
    INTERRUPTED = 130, "interrupted (INT)"
    ENDED = 143, "ended (TERM)"

    def __new__(cls, code: int, meaning: str) -> Self:
        member = int.__new__(cls, code)
        member._value_, member.meaning = code, meaning
        return member


EXIT_CODES = "; ".join(f"{code} {code.meaning}" for code in ExitCode)
"""All of them, as the help of `mpidl run` and the README have them."""


class MpidlError(Exception):
    """Base of all errors that end in one sentence instead of a traceback.

    `place`: where in a user's own code it began, if another process has found that out.
    """

    exit_code: ExitCode = ExitCode.INTERNAL
    place: str | None = None


class ConfigError(MpidlError, ValueError):
    """A configuration or a command line that cannot be run; `key` is the culprit's dotted path."""

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(f"{key}: {message}" if key else message)
        self.key = key
        self.message = message


class DataError(MpidlError, ValueError):
    """A data file that is missing, damaged or not what it claims to be."""

    exit_code = ExitCode.USAGE


class ResultsError(MpidlError, OSError):
    """A run file that cannot be read or written."""

    exit_code = ExitCode.USAGE


class LaunchError(MpidlError, RuntimeError):
    """MPI, or its launcher, is missing or does not fit."""

    exit_code = ExitCode.USAGE


class DivergenceError(MpidlError, ArithmeticError):
    """A loss or a parameter stopped being finite."""

    exit_code = ExitCode.DIVERGED


class Diverged(DivergenceError):
    """Found by all ranks after the same round, with nothing on its way between them."""


class SaveError(MpidlError, OSError):
    """Training went on, but something could not be saved."""

    exit_code = ExitCode.NOT_SAVED


class Stopped(MpidlError, RuntimeError):
    """No failure: the run was asked to stop, and has, after a checkpoint."""

    exit_code = ExitCode.STOPPED


class CommunicationError(MpidlError, RuntimeError):
    """Two ranks disagree about what they exchange, or one of them is gone."""

    exit_code = ExitCode.COMMUNICATION


class Interruption(KeyboardInterrupt):
    """A signal other than INT that asks this process to end: TERM, HUP (a closed terminal) or QUIT."""

    exit_code = ExitCode.ENDED


def quoted(value: object, longest: int = 100) -> str:
    """The value as Python writes it; of a long one its beginning."""
    # Cut before it is written: a text may be of any size.
    return beginning(repr(value[: longest + 1] if isinstance(value, str) else value), longest)


def beginning(text: str, longest: int = 100) -> str:
    """The text, or so much of a long one."""
    return text if len(text) <= longest else f"{text[:longest]}…"


class Told(SystemExit):
    """The end of a process whose failure has been told already; its `code` is the exit code."""


# Of 40 short forms and misspellings of names 35 find the one that is meant, as 37 do by 0.5; of words that mean none, 8
# in 100 find one, and 23 by 0.5. By 0.65, `algo` would be no `algorithm` any more.
_LIKE = 0.6
_PART = 5


def nearest(value: object, choices: Iterable[object]) -> str | None:
    """The choice that a misspelt value most likely means, if it is like any, or a part of one."""
    word, known = str(value)[:100], list(map(str, choices))
    alike = difflib.get_close_matches(word, known, n=1, cutoff=_LIKE)
    return next(iter(alike), None) or next((name for name in known if len(word) >= _PART and word in name), None)


def suggestion(value: object, choices: Iterable[object]) -> str:
    """`; did you mean 'metropolis'?`, to go on with after what is wrong, or nothing where no choice is like it."""
    meant = nearest(value, choices)
    return f"; did you mean {meant!r}?" if meant else ""


def choices_sentence(value: object, choices: Iterable[str], meant: str | None = None) -> str:
    """`'metropolise' is not known; did you mean 'metropolis'? (lazy, metropolis, uniform)`.

    `meant` is what to suggest where that is known, and need be none of the choices; else it is the nearest of them.
    """
    known = sorted(choices)
    hint = f"; did you mean {meant!r}?" if meant else suggestion(value, known)
    return f"{quoted(value)} is not known{hint} ({', '.join(known)})"
