"""Slurm's own launcher: by which of its plug-ins ranks find each other, which differs from MPI to MPI."""

from __future__ import annotations

import re
import subprocess

from mpidl.errors import LaunchError
from mpidl.launch.library import Library
from mpidl.sentences import printable

_SECONDS = 20.0
# By family, the first that srun offers; what others offer has each rank believe that it is alone.
_PLUGINS = {"openmpi": ("pmix",), "mpich": ("pmi2", "pmix"), "intel": ("pmi2", "pmix"), "cray": ("cray_shasta", "pmi2")}


def plugin(srun: str, library: Library) -> str:
    """The word for `srun --mpi=` with which ranks of this library find each other."""
    family = "cray" if "CRAY" in library.text.upper() else library.family
    wanted, offered = list(_PLUGINS[family]), _offered(srun)
    if library.family == "openmpi" and int(library.version.partition(".")[0]) < 5:
        # It may have been built for this, too.
        wanted.append("pmi2")
    for name in wanted:
        if name in offered:
            return name
    raise LaunchError(
        f"mpi4py loads {library}, whose ranks find each other under srun by {' or '.join(wanted)}, and srun --mpi=list "
        f"offers {', '.join(offered) or 'nothing'}; load the module that has the launcher of this MPI"
    )


def _offered(srun: str) -> list[str]:
    try:
        asked = subprocess.run(
            [srun, "--mpi=list"], capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"{srun} does not answer ({printable(str(error))}); try again later") from error
    # Versions before 21 say "srun: " before each, on stderr.
    lines = (asked.stdout + asked.stderr).splitlines()
    offered = [match[1] for line in lines if (match := re.fullmatch(r"(?:srun:)?\s+([\w-]+)", line))]
    if asked.returncode != 0 and not offered:
        said = printable("; ".join(line.strip() for line in lines if line.strip()), 200)
        raise LaunchError(f"{srun} --mpi=list ends with code {asked.returncode} ({said}); see that Slurm answers here")
    return offered
