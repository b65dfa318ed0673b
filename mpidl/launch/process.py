"""Starting the ranks, waiting for them, and telling the user how it ended.

The launcher runs in a session of its own, so that a Ctrl-C reaches it once, from here, and not every rank at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TextIO, cast

from mpidl.comm.start import failures, presence
from mpidl.errors import ExitCode, MpidlError
from mpidl.launch.command import keep_session, launch_command, rank_environment
from mpidl.launch.folders import PATIENCE, folders
from mpidl.launch.launcher import Launcher, find_launcher
from mpidl.launch.library import Library, find_library
from mpidl.launch.noise import Filter
from mpidl.launch.signals import Forwarded, forwarding
from mpidl.launch.surroundings import allow_open_files, cores, scheduler
from mpidl.launch.verdict import INTERRUPTING, Death, Ending, killed_for_memory

log = logging.getLogger("mpidl")

# Long enough for the launcher to finish a block that it has begun, too short to be seen in a progress bar.
_HOLD_SECONDS = 0.2
LOCK_SECONDS = 5.0
# For the launcher to end all ranks, once one has said that it failed: Open MPI has been seen to wait for ever.
END_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
# A progress bar hides the cursor, and a rank that was killed did not bring it back.
_SHOW_CURSOR = b"\x1b[?25h"


class Launch:
    """A program to be run on so many ranks; finding the MPI and its launcher happens here, starting them in `run`.

    `run_file` is what it writes, and `configuration` is handed to every rank, where there are any. `stopping` is the
    signal that asks ranks to stop, once they have left word that they can.
    """

    def __init__(
        self,
        ranks: int,
        program: Sequence[str],
        run_file: Path | None = None,
        configuration: str | None = None,
        stopping: signal.Signals = signal.SIGUSR2,
    ) -> None:
        self.library: Library = find_library()
        self.launcher: Launcher = find_launcher(self.library)
        self.ranks = ranks
        self.program = tuple(program)
        self.run_file = run_file
        self.configuration = configuration
        self.stopping = stopping

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
        if scheduler() is None:
            allow_open_files(self.ranks)
        # Signals are kept from all of it: the folders go, whatever comes.
        with forwarding() as forwarded, folders() as ours:
            failure_file = ours.words / "failure.json"
            terminal = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
            environment = rank_environment(
                failure_file=failure_file, terminal=terminal, configuration=self.configuration
            )
            if self.launcher.kind == "openmpi" and scheduler() is None:
                keep_session(environment, ours)
            return self._wait(self.command(environment), environment, failure_file, forwarded)

    def _wait(
        self, command: Sequence[str], environment: dict[str, str], failure_file: Path, forwarded: Forwarded
    ) -> int:
        before, killed = _identity(self.run_file), killed_for_memory()
        sys.stdout.flush()
        sys.stderr.flush()
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_end_with_parent(),
        )
        # Hydra passes on what ends programs, and is itself ended by what these are stopped with.
        directly = self.launcher.kind in ("mpich", "intel")
        forwarded.to(process, failure_file.with_name(presence.STOPPABLE), self.stopping, directly)
        # Hydra explains on stdout, the others on stderr.
        explained = failure_file.exists
        out, err = Filter(_writer(sys.stdout), explained), Filter(_writer(sys.stderr), explained)
        streams = (cast("IO[bytes]", process.stdout), cast("IO[bytes]", process.stderr))
        outputs = {stream.fileno(): output for stream, output in zip(streams, (out, err), strict=True)}
        forced = _pump(process, outputs, forwarded, explained)
        status = process.wait()
        presence.outlive(presence.read(failure_file.parent), PATIENCE, process.pid, orphaned=status < 0)
        present, now = presence.read(failure_file.parent), killed_for_memory()
        ending = Ending(
            launcher=Path(self.launcher.path).name,
            ranks=self.ranks,
            status=status,
            forced=forced,
            received=forwarded.received,
            failure=failures.read(failure_file),
            spoke=err.spoke,
            silent=self.launcher.kind == "openmpi" and not (out.ruled or err.ruled),
            death=Death.told((out.post_mortem + err.post_mortem).decode(errors="replace"), present),
            present=present,
            starved=None if killed is None or now is None else now > killed,
        )
        line, code = ending.verdict()
        if not ending.says_it_all:
            out.tell()
            err.tell()
        if code != 0 and self.run_file is not None and _identity(self.run_file) not in (None, before):
            _close_run_file(self.run_file, code)
        if code != 0 and "MPIDL_TERMINAL" in environment:
            _writer(sys.stderr)(_SHOW_CURSOR)
        if line:
            last = (b"" if err.at_line_start else b"\n") + f"{line}\n".encode(errors="backslashreplace")
            _writer(sys.stderr)(last)
        return code


def _identity(path: Path | None) -> tuple[int, int] | None:
    """What changes when the file at this path is replaced by another; None where there is none."""
    if path is None or not path.is_file():
        return None
    status = path.stat()
    return status.st_ino, status.st_ctime_ns


def _close_run_file(path: Path, code: int) -> None:
    """Has a run file that its writer could not finish, since it was ended, say how the run ended."""
    from mpidl import results
    from mpidl.results.run_file import RunFile

    # The launcher may return while the rank that writes is still being ended.
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            # The rank that writes may have closed it as interrupted, when it was told to end since another had failed.
            status = "interrupted" if code in (*INTERRUPTING.values(), ExitCode.STOPPED) else "failed"
            if results.open(path).status in {"running", "interrupted"} - {status}:
                RunFile.open(path).finish(status)
            return
        except MpidlError as error:
            if time.monotonic() > deadline:
                # The run's own failure is what the user has to know; this is less.
                log.warning("the status of %s was left as it is: %s", path, error)
                return
            time.sleep(_HOLD_SECONDS)


def _end_with_parent() -> Callable[[], object] | None:
    """What the launcher does before it starts: have the kernel end it when this process dies, even by SIGKILL."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _pump(
    process: subprocess.Popen[bytes],
    outputs: Mapping[int, Filter],
    forwarded: Forwarded,
    explained: Callable[[], bool],
) -> bool:
    """Passes on what comes from each of these until their end, or until the launcher is gone and they are silent.

    A launcher that does not end, though its ranks are to, is ended; returns whether that was so.
    """
    left, since, forced = set(outputs), math.inf, False
    while left:
        ready = select.select(left, [], [], _HOLD_SECONDS)[0]
        for handle in ready:
            data = os.read(handle, 65536)
            outputs[handle].feed(data)
            if not data:
                left.remove(handle)
        for handle in left.difference(ready):
            outputs[handle].flush()
        forwarded.send()
        if not ready and process.poll() is not None:
            break
        if forwarded.ending or explained():
            since = min(since, time.monotonic())
            late = time.monotonic() - since - END_SECONDS
            if late > 0:
                forced = True
                process.send_signal(signal.SIGTERM if late < LOCK_SECONDS else signal.SIGKILL)
    for output in outputs.values():
        output.end()
    return forced


def _writer(stream: TextIO) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        # A reader that has gone, as `head` does, or a terminal that was closed: nobody is there to be told.
        with contextlib.suppress(OSError):
            stream.buffer.write(data)
            stream.buffer.flush()

    return write
