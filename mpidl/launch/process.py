"""Starting the ranks, waiting for them, and telling the user how it ended.

The launcher runs in a session of its own, so that a Ctrl-C reaches it once, from here, and not every rank at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from mpidl.comm.start import failures
from mpidl.errors import ExitCode, MpidlError
from mpidl.launch.command import keep_session, launch_command, rank_environment
from mpidl.launch.launcher import Launcher, find_launcher
from mpidl.launch.library import Library, find_library
from mpidl.launch.noise import Filter
from mpidl.launch.surroundings import cores, scheduler

log = logging.getLogger("mpidl")

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_INTERRUPTED = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.ENDED}
# Long enough for the launcher to finish a block that it has begun, too short to be seen in a progress bar.
_HOLD_SECONDS = 0.2
_LOCK_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
# A progress bar hides the cursor, and a rank that was killed did not bring it back.
_SHOW_CURSOR = b"\x1b[?25h"


class Launch:
    """A program to be run on so many ranks; finding the MPI and its launcher happens here, starting them in `run`.

    `run_file` is what it writes, and `configuration` is handed to every rank, where there are any.
    """

    def __init__(
        self, ranks: int, program: Sequence[str], run_file: Path | None = None, configuration: str | None = None
    ) -> None:
        self.library: Library = find_library()
        self.launcher: Launcher = find_launcher(self.library)
        self.ranks = ranks
        self.program = tuple(program)
        self.run_file = run_file
        self.configuration = configuration

    def command(self, environment: dict[str, str] | None = None) -> list[str]:
        """The command as it will be run, to be shown or copied."""
        return launch_command(
            self.launcher,
            self.library,
            self.ranks,
            self.program,
            cores=cores(),
            environment=environment or rank_environment(),
            in_allocation=scheduler() is not None,
            as_root=hasattr(os, "geteuid") and os.geteuid() == 0,
        )

    def run(self) -> int:
        """Runs the ranks to their end and returns the exit code; a failing rank's own line is the last one printed."""
        folder = Path(tempfile.mkdtemp(prefix="mpidl-"))
        try:
            failure_file = folder / "failure.json"
            terminal = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
            environment = rank_environment(
                failure_file=failure_file, terminal=terminal, configuration=self.configuration
            )
            if self.launcher.kind == "openmpi" and self.launcher.major >= 5 and scheduler() is None:
                keep_session(environment, folder)
            return _wait(self.command(environment), environment, failure_file, self.run_file)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _identity(path: Path | None) -> tuple[int, int] | None:
    """What changes when the file at this path is replaced by another; None where there is none."""
    if path is None or not path.is_file():
        return None
    found = path.stat()
    return found.st_ino, found.st_ctime_ns


def _close_run_file(path: Path, code: int) -> None:
    """Has a run file that its writer could not finish, since it was ended, say how the run ended."""
    from mpidl import results
    from mpidl.results.run_file import RunFile

    # The launcher may return while the rank that writes is still being ended.
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            if results.open(path).status == "running":
                RunFile.open(path).finish("interrupted" if code in _INTERRUPTED.values() else "failed")
            return
        except MpidlError as error:
            if time.monotonic() > deadline:
                # The run's own failure is what the user has to know; this is less.
                log.warning("the status of %s was left as it is: %s", path, error)
                return
            time.sleep(_HOLD_SECONDS)


def _wait(command: Sequence[str], environment: dict[str, str], failure_file: Path, run_file: Path | None) -> int:
    before = _identity(run_file)
    sys.stdout.flush()
    sys.stderr.flush()
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_end_with_parent(),
    )
    received: list[int] = []
    output = Filter(_write_stderr, failure_file.exists)
    with _forwarding(process, received):
        _pump(process, output)
        status = process.wait()
    line, code = _verdict(status, received, failure_file)
    if code != 0 and run_file is not None and _identity(run_file) not in (None, before):
        _close_run_file(run_file, code)
    if code != 0 and "MPIDL_TERMINAL" in environment:
        _write_stderr(_SHOW_CURSOR)
    if line:
        _write_stderr((b"" if output.at_line_start else b"\n") + f"{line}\n".encode())
    return code


def _end_with_parent() -> Callable[[], object] | None:
    """What the launcher does before it starts: have the kernel end it when this process dies, even by SIGKILL."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def _forwarding(process: subprocess.Popen[bytes], received: list[int]) -> Iterator[None]:
    """While this lasts, signals go to the launcher, which passes them to the ranks."""

    def forward(number: int, _frame: object) -> None:
        received.append(number)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _pump(process: subprocess.Popen[bytes], output: Filter) -> None:
    """Passes the ranks' stderr on until its end, or until the launcher is gone and the pipe silent."""
    pipe = cast(IO[bytes], process.stderr)
    while True:
        if select.select([pipe], [], [], _HOLD_SECONDS)[0]:
            data = os.read(pipe.fileno(), 65536)
            if not data:
                break
            output.feed(data)
        elif process.poll() is not None:
            break
        else:
            output.flush()
    output.finish()


def _write_stderr(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def _verdict(status: int, received: Sequence[int], failure_file: Path) -> tuple[str, int]:
    """The last line, if there is one to be said, and the exit code."""
    failure = failures.read(failure_file)
    if failure is not None and failure[1] != _INTERRUPTED[signal.SIGINT]:
        return failure
    # MPICH leaves the ranks time to say that they were interrupted, Open MPI does not; it is told in the same words.
    for number in received:
        if number in _INTERRUPTED and status != 0:
            return "mpidl: interrupted", _INTERRUPTED[signal.Signals(number)]
    if failure is not None:
        return failure
    code = 128 - status if status < 0 else status
    if code > 128 and code - 128 in set(signal.Signals):
        name = signal.Signals(code - 128).name
        hint = "; the system does that when memory runs out" if name == "SIGKILL" else ""
        return f"mpidl: a rank was ended by {name}{hint}", code
    return "", code
