"""The processes of a launch, as campaigns find those that they kill, stop, or wait for."""

from __future__ import annotations

from pathlib import Path

from mpidl.comm.start import presence

# What the process is called that starts ranks.
LAUNCHERS = ("prterun", "mpirun", "mpiexec")


def descendants(root: int) -> list[int]:
    """The process and all that it started, directly or not."""
    children, found = _children(), [root]
    for process in found:
        found += children.get(process, [])
    return found


def name_of(process: int) -> str:
    """What it is called; nothing where it is gone."""
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def mpirun_of(launch: int) -> int | None:
    """The process of a launch that starts its ranks, once there is one."""
    return next((process for process in descendants(launch)[1:] if name_of(process).startswith(LAUNCHERS)), None)


def ranks_of(launch: int) -> list[int]:
    """The ranks of a launch that run: neither what they start themselves, nor those that died and nobody fetched."""
    mpirun = mpirun_of(launch)
    children, found, ranks = _children(), [] if mpirun is None else [mpirun], []
    for process in found:
        if name_of(process).startswith("python"):
            ranks.append(process)
        else:
            found += children.get(process, [])
    return sorted(process for process in ranks if presence.started(process) is not None)


def shared_memory(process: int) -> set[Path]:
    """Files in shared memory that a process has mapped."""
    try:
        words = Path(f"/proc/{process}/maps").read_text().split()
    except OSError:
        return set()
    return {Path(word) for word in words if word.startswith("/dev/shm/")}


def _children() -> dict[int, list[int]]:
    """What each process of this host has started that is not gone yet."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(after_name[1]), []).append(int(status.parent.name))
    return children
