"""What a rank leaves word of while it lives, for `mpidl run` to read once it has gone.

Where `mpidl run` started the ranks of this host, the environment names a file in a folder of that launch. Beside it, a
rank writes `rank-<number>`: its process, and the files in shared memory that its MPI has mapped, which nobody removes
when all ranks are killed at once. It becomes `done-<number>` when the rank's work is done, and `lost-<number>` when the
rank has died and the others have gone on.

Other hosts have no such folder. Their ranks' words travel with what they write to stderr, as lines that begin with
`WORD`, and `mpidl run` puts them into the folder.
"""

from __future__ import annotations

import json
import os
import platform
import select
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

FAILURE_FILE = "MPIDL_FAILURE_FILE"
STOPPABLE = "stoppable"
"""The name of a file beside the failure file, which is there once the run stops when its ranks are asked to."""
REPORT = b"\x1e"
"""With what a line begins that ranks write for the process which has started them, not for a person."""
WORD = b"\x1d"
"""With what a line begins that is a rank's word for the folder of its launch."""
_MEMORY = "/dev/shm/"
_STATES = ("rank", "done", "lost")


@dataclass(frozen=True)
class Presence:
    """A rank: its process, told from later ones of the same number by when it `started`, in ticks of this system.

    `shared`: path and inode of each file.
    """

    rank: int
    host: str
    process: int
    started: int
    shared: tuple[tuple[str, int], ...] = ()
    done: bool = False
    lost: bool = False

    @property
    def is_here(self) -> bool:
        """Whether it runs now, on this host."""
        return self.host == platform.node() and started(self.process) == self.started


def started(process: int) -> int | None:
    """When the process with this number started, if there is one that still runs; None too where no /proc tells."""
    try:
        # After the name, which is in brackets and may hold anything: the state, and 18 fields further this one.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def age(process: int | None = None) -> float:
    """Seconds since a process started, this one by default; 0 where it runs no more, or nobody tells."""
    ticks = started(os.getpid() if process is None else process)
    if ticks is None:
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def mark(word: str) -> None:
    """Leaves a file of this name, where `mpidl run` has started the ranks."""
    path = _path(word)
    if path is not None and not _sent(path, {"text": ""}):
        with suppress(OSError):
            path.touch()


def leave(rank: int) -> None:
    """Leaves word of this process, or brings it up to date."""
    path, process = _path(f"rank-{rank}"), os.getpid()
    if path is not None:
        mine = Presence(rank, platform.node(), process, started(process) or 0)
        if not _sent(path, {"text": json.dumps(asdict(mine))}):
            _write(path, json.dumps(asdict(replace(mine, shared=_mapped()))))


def fail(words: str, otherwise: str) -> bool:
    """Leaves these words of a failure, unless another rank has; whether they have been left, or are on their way.

    From another host they travel, and it is seen at their end who came first: then `otherwise` is said.
    """
    path = _path(Path(os.environ.get(FAILURE_FILE, "")).name)
    if path is None:
        return False
    if _sent(path, {"text": words, "otherwise": otherwise}):
        return True
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(words)
    except OSError:
        return False
    return True


def complete(rank: int) -> None:
    """Says that this rank's work is done."""
    _become("done", rank)


def lose(rank: int) -> None:
    """Says that a rank has died, and that the others go on."""
    _become("lost", rank)


def read(folder: Path) -> list[Presence]:
    """All that ranks have left in the folder of a launch, by rank."""
    presences = []
    for path in [path for state in _STATES for path in folder.glob(f"{state}-*[0-9]")]:
        # A folder that is being removed, or words cut short by a full disk.
        with suppress(OSError, ValueError, TypeError):
            words = json.loads(path.read_text(encoding="utf-8"))
            shared = tuple((str(file), int(inode)) for file, inode in words.pop("shared"))
            state = {name: path.name.startswith(name) for name in _STATES[1:]}
            presences.append(Presence(**{**words, "shared": shared, **state}))
    return sorted(presences, key=lambda presence: presence.rank)


def is_deserted(folder: Path) -> bool:
    """Whether ranks of this host have left word in the folder of a launch, and none of them is left."""
    here = [presence for presence in read(folder) if presence.host == platform.node()]
    return bool(here) and not any(presence.is_here for presence in here)


def outlive(presences: Iterable[Presence], seconds: float, session: int | None = None, orphaned: bool = False) -> None:
    """Waits so long for these ranks to be gone, and ends those that then are not; removes what they have shared.

    So too all that runs in the session: ranks that have left no word yet, and what ranks have started. Where they were
    `orphaned`, a rank that has left no word is ended at once: it would watch over a process that is gone already, and
    MPI, which finds no mpirun, would start it as a world of its own.
    """
    ranks = {presence.process for presence in presences if presence.is_here}
    members = dict(_members(session)) if session is not None else {}
    handles, unborn = [], []
    for process in ranks | set(members):
        # It may go while we look.
        with suppress(OSError):
            handles.append(os.pidfd_open(process))
            if orphaned and process not in ranks and members[process] not in members:
                unborn.append(handles[-1])
    for handle in unborn:
        with suppress(OSError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    for handle in _await(handles, seconds):
        with suppress(OSError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    _await(handles, seconds)
    for handle in handles:
        os.close(handle)
    for presence in presences:
        for file, inode in presence.shared if presence.host == platform.node() and not presence.is_here else ():
            with suppress(OSError):
                if file.startswith(_MEMORY) and Path(file).lstat().st_ino == inode:
                    Path(file).unlink()


def _members(session: int) -> Iterator[tuple[int, int]]:
    """The processes of a session and their parents; its number belongs to no other as long as there are any."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # After the name: state, parent, group, session.
            _, parent, _, its_session = status.read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session:
                yield int(status.parent.name), int(parent)


def _await(handles: Iterable[int], seconds: float) -> set[int]:
    """Waits until the processes of these handles have ended, so long at most; returns those of the others."""
    poll, left, deadline = select.poll(), set(handles), time.monotonic() + seconds
    for handle in left:
        poll.register(handle, select.POLLIN)
    while left and (remaining := deadline - time.monotonic()) > 0:
        for handle, _ in poll.poll(1000 * remaining):
            poll.unregister(handle)
            left.remove(handle)
    return left


def take(folder: Path, line: bytes) -> bytes:
    """Puts a word that has come from another host into the folder of the launch; returns what is to be printed."""
    try:
        word = json.loads(line)
        path = folder / Path(word["name"]).name
        text = word.get("text", "")
    except (ValueError, TypeError, KeyError):
        # Half of one, or no word at all.
        return line
    if "otherwise" in word and path.exists():
        return f"{word['otherwise']}\n".encode(errors="backslashreplace") if word["otherwise"] else b""
    if "was" in word:
        with suppress(OSError):
            path.with_name(Path(word["was"]).name).rename(path)
    else:
        _write(path, str(text))
    return b""


def _become(state: str, rank: int) -> None:
    path, other = _path(f"{_STATES[0]}-{rank}"), _path(f"{state}-{rank}")
    if path is not None and other is not None and not _sent(other, {"was": path.name}):
        with suppress(OSError):
            path.rename(other)


def _path(name: str) -> Path | None:
    failure_file = os.environ.get(FAILURE_FILE)
    return Path(failure_file).with_name(name) if failure_file else None


def _write(path: Path, text: str) -> None:
    """Writes the whole text or nothing; there may be no room in the folder, and then nothing is known of this rank."""
    part = path.with_name(f"{path.name}.part")
    with suppress(OSError):
        part.write_text(text, encoding="utf-8")
        part.replace(path)


@cache
def _is_away(folder: Path) -> bool:
    """Whether the folder of the launch is on another host; asked first when it is there, if it ever is."""
    return not folder.is_dir()


def _sent(path: Path, word: dict[str, object]) -> bool:
    """Sends a word to the host of the launch, if that is another one, in one piece that no other line comes into."""
    if not _is_away(path.parent):
        return False
    sys.stderr.flush()
    with suppress(OSError):
        os.write(2, WORD + json.dumps({"name": path.name} | word).encode() + b"\n")
    return True


def _mapped() -> tuple[tuple[str, int], ...]:
    """The files in shared memory that this process has mapped, and that still have a name."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ()
    # Addresses, rights, offset, device, inode, path.
    fields = [line.split(maxsplit=5) for line in lines if _MEMORY in line and not line.endswith("(deleted)")]
    return tuple({(words[5], int(words[4])) for words in fields if words[5].startswith(_MEMORY)})
