"""One writer at a time: a lock file beside the run file.

HDF5's own locks stay off, because a reader that takes one makes the writer's next append fail. The lock is an flock on
`<run file>.lock`: the kernel drops it when its holder dies, so that a lock file left behind by a kill -9 stops nobody.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import weakref
from io import FileIO
from pathlib import Path

from mpidl.errors import ResultsError

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
                holder = os.read(descriptor, 200).decode(errors="replace")
                if error.errno not in _UNSUPPORTED:
                    os.close(descriptor)
                    raise ResultsError(
                        f"{str(target)!r} is being written by {holder or 'another process'}; wait for it, stop it, "
                        "or choose another output with -o"
                    ) from error
                self.enforced = False
            if self._is_current(descriptor):
                break
            # Its holder removed it between our open and our flock: lock the one that stands there now.
            os.close(descriptor)
        # Also where a run ends by an exception, or a writer is forgotten.
        self._release = weakref.finalize(self, _release, self.path, descriptor, os.getpid())
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}".encode(), 0)
        except OSError as error:
            self.release()
            raise _unwritable(target, error, self.path) from error

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


def _release(path: Path, descriptor: int, process: int) -> None:
    # A forked child that ends does not end its parent's writing.
    if os.getpid() == process:
        # In the other order two writers could hold it.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def clear(target: Path) -> None:
    """Removes the lock that a writer has left behind; raises where it still writes."""
    if target.with_name(target.name + ".lock").exists():
        WriterLock(target).release()


def is_held(target: Path) -> bool:
    """Whether a run file has a writer, as far as the lock file tells: of another host's process nothing is known."""
    try:
        # Whatever lies there, it is neither waited for nor read beyond what a lock holds.
        descriptor = os.open(f"{target}.lock", os.O_RDONLY | os.O_NONBLOCK)
        with FileIO(descriptor) as file:
            words = file.read(200).decode().split()
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError):
        return True
    if len(words) != 4 or not words[1].isdigit() or words[3] != platform.node() or not Path("/proc/self").exists():
        return True
    return Path(f"/proc/{words[1]}").exists()
