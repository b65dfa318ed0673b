"""How run files are opened: regular files only, without locks, whatever HDF5 is told elsewhere.

HDF5 is handed a Python file instead of a path. Its own drivers take a lock where the variable HDF5_USE_FILE_LOCKING
says so, whatever the file is opened with (the library reads it once, when it is loaded), and the lock of a reader would
then make every flush of the writer fail. They also wait for ever on a named pipe.
"""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mpidl.errors import SaveError
from mpidl.files import open_regular
from mpidl.results.names import LIBVER

if TYPE_CHECKING:
    import h5py
    from typing_extensions import Buffer

# What h5py raises when HDF5 fails: OSError where the system said why, RuntimeError otherwise.
HDF5_ERRORS = (OSError, RuntimeError)

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MODES = {"r": "r", "r+": "r+", "w": "w+"}


class _Bytes(io.FileIO):
    """A file as HDF5 expects one: everything is written, and what lies beyond its end reads as zeros.

    HDF5 cannot be stopped half-way: after an error it goes on to write, and h5py loses itself in a second error. So it
    never meets one. The first is kept as `error`, and from then on the file stays as it is.
    """

    error: BaseException | None = None

    def write(self, data: Buffer) -> int:
        rest = memoryview(data)
        try:
            while rest and self.error is None:
                rest = rest[super().write(rest) :]
        except BaseException as error:
            self.error = error
        return len(memoryview(data))

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.error is None:
                return super().truncate(size)
        except BaseException as error:
            self.error = error
        return self.tell() if size is None else size

    def readinto(self, buffer: Buffer) -> int:
        rest = memoryview(buffer)
        try:
            while rest and (count := super().readinto(rest)):
                rest = rest[count:]
        except BaseException as error:
            self.error = self.error or error
        rest[:] = bytes(len(rest))
        return len(memoryview(buffer))


@contextmanager
def open_file(path: Path, mode: Literal["r", "r+", "w"]) -> Iterator[h5py.File]:
    """The file, without a chunk cache: rows go straight to where they belong. OSError for what is no regular file."""
    import h5py

    with _Bytes(path, _MODES[mode], opener=open_regular) as content:
        try:
            with h5py.File(content, mode, libver=LIBVER, rdcc_nbytes=0) as file:
                yield file
        finally:
            if content.error is not None:
                raise content.error


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Around what changes a run file: SaveError says why it could not, and what the file has now."""
    try:
        yield
    except HDF5_ERRORS as error:
        raise SaveError(f"{str(path)!r} could not be written ({system_words(error)}); {_kept(path)}") from error


def _kept(path: Path) -> str:
    """What is in the file after a write that failed, perhaps when it was nearly done."""
    try:
        with open_file(path, "r") as file:
            return f"it keeps its {file['metrics'].attrs['records']} records"
    except (*HDF5_ERRORS, KeyError):
        return "it cannot be read either"


def replace(path: Path, change: Callable[[h5py.File], None], copy: bool = True) -> None:
    """Makes a change of structure in a copy, or in a new file, and puts it in the file's place in one go."""
    part = path.with_name(path.name + ".part")
    try:
        if copy:
            shutil.copyfile(path, part)
        with open_file(part, "r+" if copy else "w") as file:
            change(file)
        sync(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def is_hdf5(path: Path) -> bool:
    """Whether it is a file that begins as HDF5 files do; OSError where it cannot be read."""
    with io.FileIO(path, "r", opener=open_regular) as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def system_words(error: Exception) -> str:
    """Why HDF5 failed, in the words of the operating system where it has any."""
    why = re.search(r"error message = '([^']*)'", str(error))
    if why:
        return why[1]
    words = error.args[0] if isinstance(error, KeyError) and error.args else error
    return getattr(error, "strerror", None) or str(words).partition("\n")[0]
