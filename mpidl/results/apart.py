"""Reading in a process of its own, which a damaged or forged file may crash, exhaust, or keep busy, and no other.

HDF5 checks little of what it reads: of files with a few bytes overwritten, one in two hundred ends the process that
reads it or keeps it busy for ever. Python cannot prevent that, so that a copy of the process reads, within limits, and
hands over what it has found.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import math
import os
import pickle
import resource
import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from mpidl.errors import ResultsError

Result = TypeVar("Result")
Answer = tuple[Any, Exception | None]

# What a whole run file may take beyond what its size explains; an honest one of a hundred runs takes a tenth of it.
_SECONDS, _BYTES_PER_SECOND = 5, 20 * 2**20
_MEMORY, _MEMORY_PER_BYTE = 2**30, 4
# For a copy that waits on what another thread held when it was made.
_PATIENCE = 12
_MOST_COPIES = 4


Job = tuple[Path, Callable[[], Any], int]
"""A file, what reads it, and how many bytes that is about."""


def call(path: Path, read: Callable[[], Result], size: int | None = None) -> Result:
    """What `read` returns or raises about this file; ResultsError where it comes to no end, or to an end of its own.

    `size`: bytes of all files that are read, where there are more.
    """
    with contextlib.closing(_answers([(path, read, _size(path) if size is None else size)])) as answers:
        result, error = next(answers)
    if error is not None:
        raise error
    return cast("Result", result)


def call_each(reads: Sequence[tuple[Path, Callable[[], Result]]]) -> Generator[Result | Exception, None, None]:
    """The same of many files, in their order; what is raised about one is handed out in its place.

    Few copies of the process read them, one file after another, each within limits of its own. A copy ends with the
    first file that is not sound, and another goes on, so that none is read where one before it may have left damage.
    """
    jobs: list[Job] = [(path, read, _size(path)) for path, read in reads]
    copies = min(_MOST_COPIES, os.cpu_count() or 1, len(jobs))
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(contextlib.closing(_answers(jobs[first::copies]))) for first in range(copies)]
        for number in range(len(jobs)):
            result, error = next(streams[number % copies])
            yield result if error is None else error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        # Who reads it will find out what is wrong.
        return 0


def _answers(jobs: Sequence[Job]) -> Generator[Answer, None, None]:
    """What each job has returned, or raised."""
    # Elsewhere a process with threads cannot be copied safely.
    if sys.platform != "linux":
        yield from (_answer(job) for job in jobs)
        return
    # Imported here once, not in every copy.
    import h5py  # noqa: F401

    done = 0
    while done < len(jobs):
        copy, first = _Copy(jobs[done:]), done
        try:
            while done < len(jobs):
                answer = copy.take()
                if answer is None and done > first:
                    # It may have been a file before it: it is read again by a copy that has seen no other.
                    break
                if answer is None:
                    answer = None, ResultsError(f"{str(jobs[done][0])!r} is damaged: {_end(copy.status)}")
                done += 1
                yield answer
                if answer[1] is not None:
                    break
        finally:
            copy.end()


class _Copy:
    """A copy of this process, which answers one job after another until one fails."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        receiving, sending = os.pipe()
        self._process, self.status = os.fork(), 0
        if not self._process:
            os.close(receiving)
            _live(jobs, sending)
        os.close(sending)
        self._pipe = os.fdopen(receiving, "rb")

    def take(self) -> Answer | None:
        """Its next answer; None where it has ended under the job, as `status` tells."""
        try:
            answer: Answer = pickle.load(self._pipe)
        except (EOFError, pickle.UnpicklingError):
            _, self.status = os.waitpid(self._process, 0)
            self._process = 0
            return None
        return answer

    def end(self) -> None:
        """Leaves nothing of it, whatever it does."""
        self._pipe.close()
        if self._process:
            # It has nothing more to say; after an interruption it must not go on.
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)


def _end(status: int) -> str:
    """What ended a process that had not finished reading."""
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL, signal.SIGALRM):
        return "reading it comes to no end"
    return "HDF5 crashes on it"


def _live(jobs: Sequence[Job], sending: int) -> NoReturn:
    """The whole life of the copy."""
    try:
        _keep_quiet()
        with os.fdopen(sending, "wb") as pipe:
            for job in jobs:
                _limit(job[2])
                answer = _answer(job)
                # Whoever takes the answer may take it late.
                signal.alarm(0)
                pickle.dump(answer, pipe, protocol=5)
                pipe.flush()
                if answer[1] is not None:
                    break
    finally:
        # Nothing of what was to happen at the end of the process that was copied.
        os._exit(0)


def _answer(job: Job) -> Answer:
    path, read, _ = job
    try:
        return read(), None
    except MemoryError:
        return None, ResultsError(f"{str(path)!r} is damaged: reading it takes more memory than its size explains")
    except Exception as error:
        return None, error


def _keep_quiet() -> None:
    """Nothing but answers comes from here, and signals end it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGXCPU, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    # It would touch, and so copy, all memory of the process.
    gc.disable()
    # What libraries print as they crash is no sentence.
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stderr__.fileno() if sys.__stderr__ else 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _limit(size: int) -> None:
    """From now on, for files of so many bytes."""
    seconds = _SECONDS + size // _BYTES_PER_SECOND
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_CPU: math.ceil(time.process_time()) + seconds,
        resource.RLIMIT_AS: mapped + _MEMORY + _MEMORY_PER_BYTE * size,
    }
    for limit, most in limits.items():
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    signal.alarm(_PATIENCE * seconds)
