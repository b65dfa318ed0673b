"""Which MPI library mpi4py really loads.

mpi4py's wheels choose among the MPI libraries of a machine when they are imported (the environment's own `lib`, then
the loader's search path), so the only sure answer comes from importing it. That happens in another process: a library
loaded here would install its signal handlers in the launcher.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mpidl.errors import LaunchError

_ASK = """
import ctypes, json, mpi4py
mpi4py.rc.initialize = mpi4py.rc.finalize = False
from mpi4py import MPI
try:
    paths = [line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if line.count("/") > 1]
except OSError:
    paths = []
paths = [path for path in paths if path.rpartition("/")[2].startswith(("libmpi.", "libmpich."))]
print(json.dumps({
    "text": MPI.Get_library_version().strip(" \\n\\0"),
    "paths": paths,
    "mpi4py": mpi4py.__version__,
    "shrinks": bool(paths) and hasattr(ctypes.CDLL(paths[0]), "MPIX_Comm_shrink"),
}))
"""

_FAMILIES = {
    "openmpi": r"Open MPI v?(\d+(?:\.\d+)*)",
    "intel": r"Intel\(R\) MPI Library (\d+(?:\.\d+)*)",
    "mpich": r"(?:MPICH|MVAPICH\S*)\D{0,20}(\d+(?:\.\d+)*)",
}


@dataclass(frozen=True)
class Library:
    """An MPI library: its family (openmpi, mpich or intel), its version, where it lies, and its own words.

    `shrinks`: whether it has what those of a run need who are left when one has died; known of Open MPI alone.
    """

    family: str
    version: str
    path: Path | None
    text: str
    mpi4py: str
    shrinks: bool = False

    @property
    def title(self) -> str:
        """Its name and version in its own words, as ranks call it: `Open MPI v5.0.11`."""
        return self.text.splitlines()[0].split(",")[0].strip("\x00 ").replace("\t", " ")

    def __str__(self) -> str:
        label = {"openmpi": "Open MPI", "mpich": "MPICH", "intel": "Intel MPI"}[self.family]
        return f"{label} {self.version} ({self.path or 'path unknown'})"


def parse_library(text: str, paths: list[str], mpi4py: str = "", shrinks: bool = False) -> Library:
    """The library that describes itself by this text (the answer of MPI_Get_library_version)."""
    for family, pattern in _FAMILIES.items():
        match = re.search(pattern, text)
        if match:
            return Library(
                family, match[1], Path(paths[0]) if paths else None, text, mpi4py, shrinks and family == "openmpi"
            )
    first_line = text.partition("\n")[0]
    raise LaunchError(
        f"mpi4py loads an MPI that mpidl does not know how to start ({first_line!r}); start the ranks "
        "with its own launcher: <launcher> -n 4 mpidl run CONFIG"
    )


def find_library(python: str = sys.executable) -> Library:
    """The library that mpi4py loads in this Python, or a sentence that says why there is none."""
    asked = subprocess.run([python, "-P", "-c", _ASK], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        reason = asked.stderr.strip().rpartition("\n")[2] or f"exit code {asked.returncode}"
        raise LaunchError(
            f"mpi4py finds no MPI library ({reason}); load your cluster's MPI module, or install one "
            f"for this Python: {python} -m pip install 'mpidl[mpi]'"
        )
    answer = json.loads(asked.stdout)
    return parse_library(answer["text"], answer["paths"], answer["mpi4py"], answer["shrinks"])
