"""Reading in a process of its own, which a damaged or forged file may crash, exhaust, or keep busy, and no other.

HDF5 checks little of what it reads: of files with a few bytes overwritten, one in two hundred ends the process that
reads it or keeps it busy for ever. Python cannot prevent that, so that a copy of the process reads, within limits, and
hands over what it has found.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from mpidl.errors import ResultsError

Result = TypeVar("Result")

# What a whole run file may take beyond what its size explains; an honest one of a hundred runs takes a tenth of it.
_SECONDS, _BYTES_PER_SECOND = 5, 20 * 2**20
_MEMORY, _MEMORY_PER_BYTE = 2**30, 4
# For a copy that waits on what another thread held when it was made.
_PATIENCE = 12


def call(path: Path, read: Callable[[], Result], size: int | None = None) -> Result:
    """What `read` returns or raises about this file; ResultsError where it comes to no end, or to an end of its own.

    `size`: bytes of all files that are read, where there are more.
    """
    # Elsewhere a process with threads cannot be copied safely.
    if sys.platform != "linux":
        return read()
    # Imported here once, not in every copy.
    import h5py  # noqa: F401

    if size is None:
        size = path.stat().st_size if path.exists() else 0
    receiving, sending = os.pipe()
    process = os.fork()
    if not process:
        os.close(receiving)
        _answer(path, read, sending, size)
    os.close(sending)
    status = 0
    try:
        with os.fdopen(receiving, "rb") as pipe:
            result, error = pickle.load(pipe)
    except (EOFError, pickle.UnpicklingError) as error:
        _, status = os.waitpid(process, 0)
        process = 0
        raise ResultsError(f"{str(path)!r} is damaged: {_end(status)}") from error
    finally:
        if process:
            # It has nothing more to say; after an interruption it must not go on.
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    if error is not None:
        raise error
    return result


def _end(status: int) -> str:
    """What ended a process that had not finished reading."""
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL, signal.SIGALRM):
        return "reading it comes to no end"
    return "HDF5 crashes on it"


def _answer(path: Path, read: Callable[[], Result], sending: int, size: int) -> NoReturn:
    """The whole life of the copy."""
    try:
        _limit(size)
        answer: tuple[Result | None, Exception | None]
        try:
            answer = read(), None
        except MemoryError:
            answer = (
                None,
                ResultsError(f"{str(path)!r} is damaged: reading it takes more memory than its size explains"),
            )
        except Exception as error:
            answer = None, error
        with os.fdopen(sending, "wb") as pipe:
            pickle.dump(answer, pipe, protocol=5)
    finally:
        # Nothing of what was to happen at the end of the process that was copied.
        os._exit(0)


def _limit(size: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGXCPU, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    # It would touch, and so copy, all memory of the process.
    gc.disable()
    # What libraries print as they crash is no sentence.
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stderr__.fileno() if sys.__stderr__ else 2)
    seconds = _SECONDS + size // _BYTES_PER_SECOND
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: mapped + _MEMORY + _MEMORY_PER_BYTE * size,
    }
    for limit, most in limits.items():
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    signal.alarm(_PATIENCE * seconds)
