"""The launcher (mpirun, mpiexec, srun) that belongs to an MPI library.

Ranks started by another MPI's launcher do not find each other: each becomes a world of size 1. So a launcher counts
only if it says itself that it is of the library's family and, for Open MPI, of its major version.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mpidl.errors import ConfigError, LaunchError
from mpidl.launch import hosts as named
from mpidl.launch.hosts import Hosts
from mpidl.launch.library import Library, find_library
from mpidl.launch.srun import plugin
from mpidl.launch.surroundings import modules_path, scheduler, with_home

CHOSEN = "MPIDL_LAUNCHER"
"""The variable that names another launcher."""

# Debian installs several MPIs side by side, each under a suffixed name.
_NAMES = {
    "openmpi": ("mpirun", "mpiexec", "mpirun.openmpi", "mpiexec.openmpi"),
    "mpich": ("mpiexec.hydra", "mpiexec", "mpirun", "mpiexec.mpich", "mpirun.mpich"),
    "intel": ("mpiexec.hydra", "mpiexec", "mpirun"),
}
_SAYS = {
    "openmpi": r"\((?:Open MPI|OpenRTE|PRRTE)\)\s*v?(\d+)",
    "mpich": r"HYDRA",
    "intel": r"Intel\(R\) MPI",
}


@dataclass(frozen=True)
class Launcher:
    """A launcher: `kind` openmpi, mpich, intel or srun; `major` is its major version where flags depend on it.

    `plugin`: by which of srun's ranks find each other. `hosts`: those that a person has named for the ranks; else the
    launcher knows where they go.
    """

    path: str
    kind: str
    major: int = 0
    plugin: str = ""
    hosts: Hosts | None = None


def find(hosts: Hosts | None = None) -> tuple[Library, Launcher]:
    """The library that mpi4py loads, and its launcher, which can start ranks on these hosts."""
    job = scheduler()
    if hosts is not None and job is not None:
        raise ConfigError(f"{job} says where ranks go; leave the option out", hosts.key)
    library = find_library()
    launcher = find_launcher(library)
    if hosts is not None:
        named.refuse_unready(hosts, named.agent(launcher.kind, launcher.major), modules_path(os.environ))
    return library, replace(launcher, hosts=hosts)


def find_launcher(library: Library, environment: Mapping[str, str] = os.environ) -> Launcher:
    """The launcher beside the library, else in this Python's environment, else on PATH, else the allocation's srun.

    A variable of the environment, which a site may set, chooses another: srun, or a launcher by its name or path.
    """
    chosen = environment.get(CHOSEN)
    if chosen == "srun":
        return _srun(library, environment, f"{CHOSEN} is srun")
    if chosen:
        return _chosen(chosen, library, environment)
    looked_in = list(dict.fromkeys(_folders(library, environment)))
    for folder in looked_in:
        for name in _NAMES[library.family]:
            candidate = folder / name
            if os.access(candidate, os.X_OK) and candidate.is_file():
                launcher = _identify(candidate, library)
                if launcher is not None:
                    return launcher
    if shutil.which("srun", path=environment.get("PATH", "")) and "SLURM_JOB_ID" in environment:
        return _srun(library, environment)
    raise LaunchError(
        f"mpi4py loads {library}, but its launcher ({_NAMES[library.family][0]}) is neither beside it, "
        f"nor in {Path(sys.prefix, 'bin')}, nor on PATH; load the module that this MPI comes from, or "
        f"install one for this Python: {sys.executable} -m pip install 'mpidl[mpi]'"
    )


def _chosen(name: str, library: Library, environment: Mapping[str, str]) -> Launcher:
    """The launcher that the environment names, once it is seen to be of this library."""
    path = shutil.which(name, path=environment.get("PATH", ""))
    if path is None:
        raise LaunchError(f"{CHOSEN} is {name!r}, which is no program here; name another, or unset it")
    launcher = _identify(Path(path), library)
    if launcher is None:
        raise LaunchError(
            f"{CHOSEN} is {name!r}, which does not say that it belongs to {library}, the MPI that mpi4py loads; name "
            "that one's, or unset it"
        )
    return launcher


def _srun(library: Library, environment: Mapping[str, str], why: str = "") -> Launcher:
    """Slurm's launcher, in a job of Slurm; `why` it was chosen, if not for want of another."""
    path = shutil.which("srun", path=environment.get("PATH", ""))
    if path is None or not environment.get("SLURM_JOB_ID"):
        where = "is not on PATH" if path is None else "starts ranks in a job of Slurm alone: mpidl submit makes one"
        raise LaunchError(f"{why}, which {where}; unset it to have the launcher of {library}")
    return Launcher(path, "srun", plugin=plugin(path, library))


def _folders(library: Library, environment: Mapping[str, str]) -> Iterator[Path]:
    if library.path is not None:
        # <prefix>/lib/libmpi.so, <prefix>/lib/release/libmpi.so, /usr/lib/x86_64-linux-gnu/openmpi/lib/libmpi.so
        for path in dict.fromkeys([library.path, library.path.resolve()]):
            yield from (above / "bin" for above in path.parents[1:5])
    yield Path(sys.prefix, "bin")
    yield from (Path(folder) for folder in environment.get("PATH", "").split(os.pathsep) if folder)


def _identify(path: Path, library: Library) -> Launcher | None:
    """The launcher at this path if it belongs to the library."""
    try:
        asked = subprocess.run(
            [path, "--version"],
            env=with_home(os.environ),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        # Something on PATH that cannot even tell its version is no launcher of ours; the search goes on.
        return None
    match = re.search(_SAYS[library.family], asked.stdout + asked.stderr)
    if match is None:
        return None
    if library.family != "openmpi":
        return Launcher(str(path), library.family)
    major = int(match[1])
    return Launcher(str(path), "openmpi", major) if str(major) == library.version.partition(".")[0] else None
