"""One writer at a time: a lock file beside the run file.

HDF5's own locks stay off, because a reader that takes one makes the writer's next append fail. The lock is an flock on
`<run file>.lock`: the kernel drops it when its holder dies, so that a lock file left behind by a kill -9 stops nobody.

Readers, who take no lock, tell by the file whether its holder lives: on its own host by its process, on another one by
the file's time, which a thread of the holder renews.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Literal

from mpidl.comm.start import presence
from mpidl.errors import ResultsError

# Network file systems show times of other hosts late by up to a minute, and their clocks differ by a little.
_SIGN_SECONDS, SILENT_SECONDS = 60.0, 300.0

_UNSUPPORTED = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS}


class WriterLock:
    """Held from construction to `release`. `enforced` is False on a file system that has no locks."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".lock")
        self.enforced = True
        while True:
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
            except OSError as error:
                raise _unwritable(target, error, self.path) from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                words = os.read(descriptor, 200).decode(errors="replace")
                if error.errno not in _UNSUPPORTED:
                    os.close(descriptor)
                    raise ResultsError(
                        f"{str(target)!r} is being written by {words or 'another process'}; wait for it, stop it, "
                        "or choose another output with -o"
                    ) from error
                self.enforced = False
            if self._is_current(descriptor):
                break
            # Its holder removed it between our open and our flock: lock the one that stands there now.
            os.close(descriptor)
        # Also where a run ends by an exception, or a writer is forgotten.
        over = threading.Event()
        self._release = weakref.finalize(self, _release, self.path, descriptor, os.getpid(), over)
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}".encode(), 0)
        except OSError as error:
            self.release()
            raise _unwritable(target, error, self.path) from error
        threading.Thread(target=_show_signs, args=(self.path, over), daemon=True, name="mpidl-lock").start()

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Gives up the lock; a second time does nothing."""
        self._release()


def _unwritable(target: Path, error: OSError, lock: Path) -> ResultsError:
    return ResultsError(f"{str(target)!r} cannot be written: {error.strerror} ({lock.name})")


def _show_signs(path: Path, over: threading.Event) -> None:
    """Renews the time of a lock file until it is over."""
    while not over.wait(_SIGN_SECONDS):
        # As with the flock: where the file is gone, or its disk, nothing is lost.
        with suppress(OSError):
            os.utime(path)


def _release(path: Path, descriptor: int, process: int, over: threading.Event) -> None:
    # A forked child that ends does not end its parent's writing.
    if os.getpid() == process:
        over.set()
        # In the other order two writers could hold it.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def clear(target: Path) -> None:
    """Removes the lock that a writer has left behind; raises where it still writes."""
    if target.with_name(target.name + ".lock").exists():
        WriterLock(target).release()


@dataclass(frozen=True)
class Holder:
    """Who writes a run file, or did, by its lock file; `silent`: for how many seconds.

    Process 0, of a host without a name, where the file does not tell.
    """

    process: int
    host: str
    silent: float

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}" if self.host else "its process"

    @property
    def is_near(self) -> bool:
        """Whether its process would be seen from here."""
        return self.host == platform.node() and Path("/proc/self").exists()

    @property
    def lives(self) -> bool:
        """Whether it writes now, as far as can be told."""
        if not self.is_near:
            return self.silent < SILENT_SECONDS
        # One that is younger has the number by chance.
        return presence.age(self.process) > max(0.0, self.silent - SILENT_SECONDS)


def holder(target: Path) -> Holder | None:
    """Who has left a lock file of this run file, if anybody has."""
    try:
        # Whatever lies there, it is neither waited for nor read beyond what a lock holds.
        descriptor = os.open(f"{target}.lock", os.O_RDONLY | os.O_NONBLOCK)
        with FileIO(descriptor) as file:
            words = re.fullmatch(r"process (\d+) on (\S+)", file.read(200).decode(errors="replace"))
            silent = max(0.0, time.time() - os.fstat(descriptor).st_mtime)
    except FileNotFoundError:
        return None
    except OSError:
        return Holder(0, "", 0.0)
    return Holder(int(words[1]), words[2], silent) if words else Holder(0, "", silent)


def loss(target: Path) -> Literal["", "killed", "silent"]:
    """How a run stands whose file says that it is running, where nobody writes it any more; empty where one does.

    `silent`: so it seems from another host than its writer's, which may only have been stopped.
    """
    found = holder(target)
    if found is None:
        return "killed"
    return "" if found.lives else "killed" if found.is_near else "silent"
