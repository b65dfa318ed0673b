"""The folders of one launch: what it keeps while it runs lies in them, and nothing of it is left when it ends.

One is for the words of ranks and for the files of mpirun, the other, in shared memory, for those of Open MPI's ranks.
A launch that is killed leaves them; the next one removes them. Their names say whose they are, so that no folder of
another host, of another container or of a launch that still runs is taken for one of those.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mpidl.comm.start import presence
from mpidl.errors import LaunchError

SHARED_MEMORY = Path("/dev/shm")
# For ranks to end by themselves; the thread that watches over each needs less.
PATIENCE = 4.0


@dataclass(frozen=True)
class Folders:
    """`words` is for those of ranks and the files of mpirun; `memory` is None where memory is not shared by files."""

    words: Path
    memory: Path | None


@contextmanager
def folders() -> Iterator[Folders]:
    """The folders of this launch, once those of earlier ones are gone; at the end none of its ranks is left either."""
    remove_abandoned()
    made = _make()
    try:
        yield made
    finally:
        presence.outlive(presence.read(made.words), PATIENCE)
        _remove(made)


def _make() -> Folders:
    prefix = f"mpidl-{_here()}-{os.getpid()}-{presence.started(os.getpid()) or 0}-"
    try:
        words = Path(tempfile.mkdtemp(prefix=prefix))
    except OSError as error:
        raise LaunchError(f"no temporary folder can be made ({error.strerror}); name another in TMPDIR") from error
    try:
        return Folders(words, Path(tempfile.mkdtemp(prefix=prefix, dir=SHARED_MEMORY)))
    except OSError:
        # There is none, or no room in it, or it is read-only: then Open MPI looks for another way.
        return Folders(words, None)


def _remove(made: Folders) -> None:
    for folder in filter(None, (made.words, made.memory)):
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned() -> None:
    """Removes the folders of launches of this user on this host whose processes are all gone."""
    if presence.started(os.getpid()) is None:
        # Nobody tells which processes there are.
        return
    for place in (Path(tempfile.gettempdir()), SHARED_MEMORY):
        for folder in place.glob(f"mpidl-{_here()}-*-*-*"):
            _, _, process, started, *_ = folder.name.split("-")
            if _is_ours(folder) and process.isdigit() and str(presence.started(int(process))) != started:
                ranks = presence.read(folder)
                if not any(rank.is_here for rank in ranks):
                    presence.outlive(ranks, 0)
                    shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    try:
        return folder.lstat().st_uid == os.geteuid() and folder.is_dir() and not folder.is_symlink()
    except FileNotFoundError:
        # Another launch that starts at this moment has removed it.
        return False


def _here() -> str:
    """This host and, where containers share its folders, this one of them: only here processes have these numbers."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return sha256(f"{platform.node()} {space}".encode()).hexdigest()[:12]
