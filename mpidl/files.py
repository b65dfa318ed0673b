"""Opening files that a person has named: regular ones, so that nothing waits for a named pipe or reads a device."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path

# A byte of deflate holds at most 1,032 bytes [zlib's technical details].
DEFLATE_RATIO = 1032


def open_regular(path: str | Path, flags: int) -> int:
    """As an `opener` of Python's files; OSError for what is no regular file."""
    try:
        # Without O_NONBLOCK, opening a named pipe waits for its other end.
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
    except ValueError as error:
        raise OSError(0, "its name has a character that no file's can have", str(path)) from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(0, "it is no regular file", str(path))


def read(path: Path, most: int) -> bytes:
    """All of a file that must not be larger than `most` bytes; OSError for any other."""
    with FileIO(open_regular(path, os.O_RDONLY)) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(0, f"it is larger than any such file ({most:,} bytes)", str(path))
        return file.readall()
