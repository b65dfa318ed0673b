"""Finding data files, and saying what to put where when they are not there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mpidl import files
from mpidl.errors import DataError

_PIECE = 2**20


class Readable(Protocol):
    """An open file, packed or not."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes, the next ones; none at the end."""


def _folder(root: str) -> Path | None:
    """The root as a path, or None where it is an environment variable that is not set."""
    path = _expanded(root)
    return None if str(path).startswith("$") else path


def _expanded(text: str) -> Path:
    path = Path(os.path.expandvars(text))
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise DataError(f"{text!r}: there is no such user") from error


def find_set(root: str, folders: Sequence[str], names: Sequence[str], source: str) -> list[Path]:
    """The files of a data set, all in one of the folders under the root; a packed name may stand unpacked as well."""
    folder = _folder(root)
    wanted = f"put {', '.join(names)} from {source} into its folder {folders[0]!r}"
    if folder is None:
        raise DataError(f"data.root is {root}, which is not set; set it to the folder of your data sets and {wanted}")
    if not folder.is_dir():
        raise DataError(f"data.root: {str(folder)!r} is not a folder; {wanted}")
    missing = "the data set"
    for inside in folders:
        paths = [_present(folder / inside, name) for name in names]
        files = [path for path in paths if path is not None]
        if len(files) == len(names):
            return files
        if files:
            missing = ", ".join(name for name, path in zip(names, paths, strict=True) if path is None)
    raise DataError(f"data.root: {str(folder)!r} lacks {missing}; {wanted}")


def _present(folder: Path, name: str) -> Path | None:
    for candidate in (folder / name, folder / name.removesuffix(".gz")):
        if candidate.is_file():
            return candidate
    return None


def find_file(root: str, name: str, key: str, folders: Sequence[str] = (".",)) -> Path:
    """A file named in the configuration: absolute, under the root, or under the current folder."""
    folder = _folder(root)
    file = _expanded(name)
    tried = [folder / inside / file for inside in folders] if folder is not None else []
    tried.append(Path.cwd() / file)
    for path in tried:
        if path.is_file():
            return path
    under = f"{str(folder)!r} (data.root)" if folder is not None else f"data.root, which is {root} and not set,"
    raise DataError(f"data.{key}: there is no file {name!r} under {under} or the current folder; put it there")


def read_limited(path: Path, most: int) -> bytes:
    """All of a file that must not be larger than `most` bytes."""
    try:
        return files.read(path, most)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def read_rest(file: Readable, size: int) -> bytearray | None:
    """The rest of an open file, where it is exactly so long; memory grows with what is really there."""
    content = bytearray()
    while piece := file.read(min(_PIECE, size + 1 - len(content))):
        content += piece
    return content if len(content) == size else None


def check_md5(path: Path, content: bytes, published: str) -> None:
    """Refuse a file that is not the published one."""
    actual = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if actual != published:
        raise DataError(
            f"{path} is not the published file (MD5 {actual}, published {published}): it is damaged or another; "
            "fetch it again, or set data.checksum: false for files of your own in this format"
        )
