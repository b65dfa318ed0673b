"""Starting the ranks, waiting for them, and telling the user how it ended.

The launcher runs in a session of its own, so that a Ctrl-C reaches it once, from here, and not every rank at once.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import IO, cast

from mpidl.comm.start import failures, presence
from mpidl.errors import ExitCode, MpidlError
from mpidl.launch.binding import Room
from mpidl.launch.command import keep_session, launch_command, rank_environment
from mpidl.launch.folders import PATIENCE, Folders, folders
from mpidl.launch.launcher import Launcher, find
from mpidl.launch.library import Library
from mpidl.launch.noise import Filter, writer
from mpidl.launch.signals import Forwarded, end_with_parent, forwarding
from mpidl.launch.surroundings import allow_open_files, scheduler
from mpidl.launch.verdict import INTERRUPTING, Death, Ending, killed_for_memory, lost_host

log = logging.getLogger("mpidl")

# Long enough for the launcher to finish a block that it has begun, too short to be seen in a progress bar.
_HOLD_SECONDS = 0.2
LOCK_SECONDS = 5.0
# For the launcher to end all ranks, once one has said that it failed: Open MPI has been seen to wait for ever.
END_SECONDS = 10.0
# The same where ranks outlive others, so that none can end them all, and where none is left on this host, so that the
# launcher may wait for a host that is gone; there this long for the launcher to end, and what it leaves behind.
OUTLIVING_SECONDS, ALONE_SECONDS = 2.0, 1.0
# A progress bar hides the cursor, and a rank that was killed did not bring it back.
_SHOW_CURSOR = b"\x1b[?25h"


class Launch:
    """A program to be run on so many ranks; finding the MPI and its launcher happens here, starting them in `run`.

    `run_file` is what it writes, and `configuration` is handed to every rank, where there are any. `stopping` is the
    signal that asks ranks to stop, once they have left word that they can. `report` takes the lines that begin with
    `presence.REPORT`, and `write` all other output, which else is printed. `found` returns library and launcher where
    they have been looked for already. `outliving`: whether the others go on when a rank dies, where MPI can.
    """

    def __init__(
        self,
        ranks: int,
        program: Sequence[str],
        run_file: Path | None = None,
        configuration: str | None = None,
        stopping: signal.Signals = signal.SIGUSR2,
        report: Callable[[bytes], object] | None = None,
        write: Callable[[bytes], object] | None = None,
        found: Callable[[], tuple[Library, Launcher]] | None = None,
        outliving: bool = False,
    ) -> None:
        self.library, self.launcher = (found or find)()
        if self.launcher.hosts is not None:
            self.launcher.hosts.refuse_more(ranks)
        self.ranks = ranks
        self.program = tuple(program)
        self.run_file = run_file
        self.configuration = configuration
        self.stopping = stopping
        self.report = report
        self.write = write
        self.outliving = outliving and ranks > 1 and self.launcher.kind == "openmpi" and self.library.shrinks

    def command(self, environment: dict[str, str] | None = None) -> list[str]:
        """The command as it will be run, to be shown or copied."""
        return launch_command(
            self.launcher,
            self.ranks,
            self.program,
            room=Room.here(),
            environment=environment or rank_environment(),
            as_root=hasattr(os, "geteuid") and os.geteuid() == 0,
            outliving=self.outliving,
        )

    def run(self) -> int:
        """Runs the ranks to their end and returns the exit code; a failing rank's own line is the last one printed."""
        # Signals are kept from all of it: the folders go, whatever comes.
        with forwarding() as forwarded, folders() as ours:
            running = self.start(ours, forwarded)
            while not running.over:
                pass_on([running])
            line, code = running.end()
        if line:
            last = (b"" if running.at_line_start else b"\n") + f"{line}\n".encode(errors="backslashreplace")
            writer(sys.stderr)(last)
        return code

    def prepare(self) -> None:
        """Makes room for what the launcher opens; refuses where there is none, and what cannot be handed to ranks."""
        rank_environment(configuration=self.configuration)
        if scheduler() is None:
            allow_open_files(self.ranks)

    def start(self, ours: Folders, forwarded: Forwarded) -> Running:
        """Starts the ranks, for which these folders are, and to which signals go."""
        self.prepare()
        failure_file = ours.words / "failure.json"
        columns = shutil.get_terminal_size().columns if self.report is None else None
        environment = rank_environment(
            failure_file=failure_file,
            terminal=columns if sys.stderr.isatty() else None,
            output=columns if sys.stdout.isatty() else None,
            configuration=self.configuration,
        )
        if self.launcher.kind == "openmpi" and scheduler() is None:
            keep_session(environment, ours, elsewhere=self.launcher.hosts is not None)
        return Running(self, environment, failure_file, forwarded)


class Running:
    """The ranks of a launch, from their start until it is known how they ended.

    `run_file` is the one that they write now, and may change from one to another. Signals go to them by `route`.
    """

    def __init__(self, launch: Launch, environment: dict[str, str], failure_file: Path, forwarded: Forwarded) -> None:
        self._launch, self._failure_file = launch, failure_file
        self._on_terminal = "MPIDL_TERMINAL" in environment
        self.writes(launch.run_file)
        self._killed = killed_for_memory()
        sys.stdout.flush()
        sys.stderr.flush()
        self._process = subprocess.Popen(
            launch.command(environment),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=end_with_parent(),
        )
        # Hydra passes on what ends programs, and is itself ended by what these are stopped with.
        directly = launch.launcher.kind in ("mpich", "intel")
        stoppable = failure_file.with_name(presence.STOPPABLE)
        self.route = forwarded.to(self._process, stoppable, launch.stopping, directly)
        # Hydra explains on stdout, the others on stderr.
        take = partial(presence.take, failure_file.parent)
        self._out = Filter(launch.write or writer(sys.stdout), failure_file.exists, launch.report, take)
        self._err = Filter(launch.write or writer(sys.stderr), failure_file.exists, launch.report, take)
        streams = (cast("IO[bytes]", self._process.stdout), cast("IO[bytes]", self._process.stderr))
        self._open = {stream.fileno(): output for stream, output in zip(streams, (self._out, self._err), strict=True)}
        self._heard = dict.fromkeys(self._open, time.monotonic())
        """When something last came from each."""
        self._since, self._forced, self._alone = math.inf, False, False
        self._gone: presence.Presence | None = None

    def writes(self, run_file: Path | None) -> None:
        """From now on the ranks write this run file."""
        self.run_file, self._before = run_file, _identity(run_file)

    @property
    def handles(self) -> Collection[int]:
        """What is read from the ranks."""
        return self._open.keys()

    @property
    def at_line_start(self) -> bool:
        """Whether what was printed ended with a line."""
        return self._err.at_line_start

    @property
    def over(self) -> bool:
        """Whether nothing more comes from them."""
        return not self._open

    def pass_on(self, ready: Collection[int]) -> None:
        """Passes on what has come from these handles, and signals to the ranks.

        A launcher that does not end, though its ranks are to, is ended.
        """
        now = time.monotonic()
        for handle, output in list(self._open.items()):
            if handle in ready:
                self._heard[handle] = now
                data = os.read(handle, 65536)
                output.feed(data)
                if not data:
                    del self._open[handle]
            elif now - self._heard[handle] >= _HOLD_SECONDS:
                output.flush()
        self.route.send()
        if self._process.poll() is not None and now - max(self._heard.values()) >= _HOLD_SECONDS:
            # It is gone, and what it has left behind is silent.
            self._open.clear()
        if not self.over and (self.route.ending or self._failure_file.exists() or self._breaks_early()):
            self._since = min(self._since, now)
            alone = presence.is_deserted(self._failure_file.parent)
            late = now - self._since - (OUTLIVING_SECONDS if alone or self._launch.outliving else END_SECONDS)
            if late > 0:
                self._forced, self._alone = True, alone
                gently = late < (ALONE_SECONDS if alone else LOCK_SECONDS)
                self._process.send_signal(signal.SIGTERM if gently else signal.SIGKILL)
        if self.over:
            self._out.end()
            self._err.end()

    def _breaks_early(self) -> bool:
        """Whether a rank has died that others were to outlive, before they could; it is kept as `_gone`."""
        folder = self._failure_file.parent
        if not self._launch.outliving or folder.joinpath(presence.STOPPABLE).exists():
            return False
        here = [rank for rank in presence.read(folder) if rank.host == platform.node()]
        self._gone = self._gone or next((rank for rank in here if not (rank.done or rank.is_here)), None)
        return self._gone is not None

    def end(self) -> tuple[str, int]:
        """The last line, empty where nothing is to be said, and the exit code, once none of the ranks is left."""
        launch, out, err, folder = self._launch, self._out, self._err, self._failure_file.parent
        status = self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            cast("IO[bytes]", stream).close()
        patience = ALONE_SECONDS if self._alone else PATIENCE
        presence.outlive(presence.read(folder), patience, self._process.pid, orphaned=status < 0)
        present, now = presence.read(folder), killed_for_memory()
        post_mortem = (out.post_mortem + err.post_mortem).decode(errors="replace")
        ending = Ending(
            launcher=Path(launch.launcher.path).name,
            ranks=launch.ranks,
            status=status,
            forced=self._forced,
            gone=self._gone,
            received=self.route.received,
            failure=failures.read(self._failure_file),
            spoke=err.spoke,
            silent=launch.launcher.kind == "openmpi" and not self._forced and not (out.ruled or err.ruled),
            death=Death.told(post_mortem, present),
            present=present,
            lost=lost_host(post_mortem, present),
            starved=None if self._killed is None or now is None else now > self._killed,
        )
        line, code = ending.verdict()
        if not ending.says_it_all:
            out.tell()
            err.tell()
        if code != 0 and self.run_file is not None and _identity(self.run_file) not in (None, self._before):
            close_run_file(self.run_file, code)
        if code != 0 and self._on_terminal:
            writer(sys.stderr)(_SHOW_CURSOR)
        self.route.close()
        return line, code


def pass_on(launches: Collection[Running]) -> None:
    """Passes on what comes from the ranks of these launches, waiting a moment for it, and signals to them."""
    handles = [handle for running in launches for handle in running.handles]
    ready = select.select(handles, [], [], _HOLD_SECONDS)[0]
    for running in launches:
        running.pass_on(ready)


def _identity(path: Path | None) -> tuple[int, int] | None:
    """What changes when the file at this path is replaced by another; None where there is none."""
    if path is None or not path.is_file():
        return None
    status = path.stat()
    return status.st_ino, status.st_ctime_ns


def close_run_file(path: Path, code: int) -> None:
    """Has a run file that its writer could not finish, since it was ended, say how the run ended."""
    from mpidl import results
    from mpidl.results import lock
    from mpidl.results.run_file import RunFile

    # The launcher may return while the rank that writes is still being ended.
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            # The rank that writes knows less: told to end since another had failed, it has closed it as interrupted.
            status = "interrupted" if code in (*INTERRUPTING.values(), ExitCode.STOPPED) else "failed"
            if results.open(path).status in {"running", "interrupted", "failed"} - {status}:
                RunFile.open(path).finish(status)
            # The rank may have been ended between the last word of its file and the end of its lock.
            lock.clear(path)
            return
        except MpidlError as error:
            if time.monotonic() > deadline:
                # The run's own failure is what the user has to know; this is less.
                log.warning("the status of %s was left as it is: %s", path, error)
                return
            time.sleep(_HOLD_SECONDS)
