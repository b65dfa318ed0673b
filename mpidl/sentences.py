"""How any error is told: in one line of bounded length that a terminal can show, with the place in a plug-in's code.

All that comes from elsewhere and is to be shown (what a plug-in raises, texts of a file) goes through `printable`.
"""

from __future__ import annotations

import os
import resource
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mpidl.errors import ExitCode, Interruption, MpidlError

PLUG_INS: set[str] = set()
"""The first names of the modules that a configuration has named; they may be installed like any library."""

# Of a whole line, and of what an error says in it.
LONGEST, LONGEST_WORDS = 1500, 400
_PACKAGE = str(Path(__file__).parent) + os.sep
_LIBRARIES = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
_COMPILED = (".pyx", ".pxi")
"""How Cython names the files of mpi4py and h5py: by no folder of this machine."""
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
# How the system, the loader of libraries, torch and NumPy say that a process may take no more memory.
_NO_MEMORY = ("cannot allocate memory", "can't allocate memory", "unable to allocate", "failed to map segment")


def printable(text: str, longest: int = LONGEST) -> str:
    """The text on one line, with nothing in it that moves a cursor or cannot be encoded, cut in its middle."""
    # Before anything looks at each character: it may be of any size.
    clean = "".join(map(_shown, " ".join(_cut(text, longest).split())))
    return _cut(clean, longest)


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _cut(text: str, longest: int) -> str:
    ends = longest - len(" … ")
    return text if len(text) <= longest else f"{text[: 2 * ends // 3]} … {text[len(text) - ends // 3 :]}"


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers as `0-3, 6, 8-9`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def numbered(noun: str, numbers: Sequence[int]) -> str:
    """`agent 3`, `agents 0-3, 6`: those of these ascending numbers."""
    return f"{noun}{'s' * (len(numbers) != 1)} {ranges(numbers)}"


def told(error: BaseException) -> str:
    """What was raised: `IndexError: no such agent`."""
    try:
        # A bare SyntaxError has None in place of a message.
        words = str(error.msg or "") if isinstance(error, SyntaxError) else str(error)
    except Exception:
        # The class is a user's, and so is what makes it a text.
        words = ""
    words, name = printable(words, LONGEST_WORDS), printable(type(error).__name__, 100)
    return f"{name}: {words}" if words else name


def place(error: BaseException) -> str | None:
    """Where in a user's own code an error began: `own.py, line 12`; None where no such code had a part in it."""
    for each in _causes(error):
        if isinstance(each, MpidlError) and each.place:
            return each.place
        if isinstance(each, SyntaxError) and each.filename and each.lineno:
            return _named(each.filename, each.lineno)
        for frame, line in reversed(list(traceback.walk_tb(each.__traceback__))):
            file, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))
            if not file.startswith("<") and (module.partition(".")[0] in PLUG_INS or not is_a_librarys(file)):
                return _named(file, line)
    return None


def describe(error: BaseException) -> tuple[str, ExitCode]:
    """The error as one line, and the exit code for it."""
    where = place(error)
    at = f" ({where})" if where else ""
    if isinstance(error, MpidlError):
        return printable(str(error)) + at, error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", error.exit_code if isinstance(error, Interruption) else ExitCode.INTERRUPTED
    if type(error).__module__.partition(".")[0] == "mpi4py":
        return f"MPI failed: {told(error)}{at}", ExitCode.COMMUNICATION
    limit = _limit(error)
    if limit:
        return f"{limit}: {told(error)}{at}", ExitCode.USAGE
    if where:
        return told(error) + at, ExitCode.USAGE
    return f"internal error: {told(error)}", ExitCode.INTERNAL


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What caused the error, what caused that, and so on, the first of them first; last the error itself."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and not any(cause is known for known in chain):
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return reversed(chain)


def is_a_librarys(file: str) -> bool:
    """Whether it is Python's, mpidl's or an installed one's, and no user wrote it for this run."""
    return (
        file.startswith((_PACKAGE, *_LIBRARIES))
        or file.endswith(_COMPILED)
        or any(folder in file for folder in _INSTALLED)
    )


def _named(file: str, line: int) -> str:
    path = Path(file)
    here = Path.cwd()
    return printable(f"{path.relative_to(here) if path.is_relative_to(here) else path}, line {line}", LONGEST_WORDS)


def _limit(error: BaseException) -> str | None:
    """The limit of this process that is to blame for the error, with what to do about it."""
    words = told(error).lower()
    memory, _ = resource.getrlimit(resource.RLIMIT_AS)
    if memory != resource.RLIM_INFINITY and (
        isinstance(error, MemoryError) or any(text in words for text in _NO_MEMORY)
    ):
        return f"memory ran out at the limit of {memory >> 20:,} MiB for a process (ulimit -v), which is too low"
    if "too many open files" in words:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"the limit of {files} open files for a process (ulimit -n) is too low"
    return None
