"""What an MPI library can do, asked of one process that starts it: threads, failed ranks, GPUs, ways for bytes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mpidl.launch.command import rank_environment

# A process that is to be alone must not take itself for a rank of this one's launch.
_OF_A_LAUNCH = ("OMPI_COMM_", "PMIX_", "PMI_", "PRTE_", "MPI_LOCAL", "HYDI_", "HYDRA_", "PALS_", "MPIDL_")
# Tenths of a second where all is well; a batch node's network may take longer to look for.
_SECONDS = 20.0
_ASK = """
import ctypes, json, os, sys
import mpi4py
mpi4py.rc.initialize = mpi4py.rc.finalize = False
from mpi4py import MPI
from mpidl.makers import MAKERS

def version(path, name, read):
    function = getattr(ctypes.CDLL(path), name)
    function.restype = ctypes.c_char_p if name == "ucp_get_version_string" else ctypes.c_uint32
    return read(function())

reached = None
if sys.argv[1] == "gpu":
    from mpidl.comm.start import device
    chosen = device.choose("auto", 0)
level = MPI.Init_thread(MPI.THREAD_MULTIPLE)
library = ctypes.CDLL(MPI.__file__)
levels = {MPI.THREAD_SINGLE: "single", MPI.THREAD_FUNNELED: "funneled", MPI.THREAD_SERIALIZED: "serialized",
          MPI.THREAD_MULTIPLE: "multiple"}
said = MPI.Get_library_version()
claims = {maker.runtime: maker.claimed(library, said) for maker in MAKERS}
if sys.argv[1] == "gpu" and chosen.type != "cpu":
    from mpidl.comm.gossip.messages import reaches
    reached = reaches(MPI.COMM_SELF, chosen)
loaded = {}
try:
    paths = {line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if line.count("/") > 1}
except OSError:
    paths = set()
for path in sorted(paths):
    name = path.rpartition("/")[2]
    if name.startswith("libucp.so") or name.startswith("libucp-"):
        loaded["UCX"] = version(path, "ucp_get_version_string", bytes.decode)
    elif name.startswith("libfabric.so") or name.startswith("libfabric-"):
        loaded["libfabric"] = version(path, "fi_version", lambda number: f"{number >> 16}.{number & 65535}")
print(json.dumps({
    "threads": levels[level],
    "ulfm": any(hasattr(library, prefix + "Comm_revoke") for prefix in ("MPI_", "MPIX_")),
    "claims": claims,
    "reaches_gpus": reached,
    "loaded": loaded,
}), flush=True)
MPI.Finalize()
"""


@dataclass(frozen=True)
class Abilities:
    """`claims`: by what GPUs are programmed by, whether the library says that it takes their memory, None where it says
    nothing; `reaches_gpus` what a trial has shown, None where there is no GPU. `loaded`: versions of UCX and libfabric,
    where the process has loaded them.
    """

    threads: str
    ulfm: bool
    claims: dict[str, bool | None]
    reaches_gpus: bool | None
    loaded: dict[str, str]

    def lines(self) -> Iterator[str]:
        """For a person."""
        yield f"thread level {self.threads}; functions for ranks that fail (ULFM): {'there' if self.ulfm else 'absent'}"
        said = {True: ("knows ", " and "), False: ("knows no ", " and no "), None: ("says nothing of ", " and ")}
        runtimes = {claim: [name for name, found in self.claims.items() if found is claim] for claim in said}
        claims = [begin + between.join(runtimes[claim]) for claim, (begin, between) in said.items() if runtimes[claim]]
        tried = {None: "no GPU to try it with", False: "it does not take a GPU's memory", True: "takes a GPU's memory"}
        yield f"as it says, it {', '.join(claims)}; {tried[self.reaches_gpus]}"
        yield ", ".join(f"{name} {version}" for name, version in self.loaded.items()) or "neither UCX nor libfabric"


class Question:
    """Asked when it is made, so that others can be asked meanwhile."""

    def __init__(self, gpu: bool, python: str = sys.executable) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_A_LAUNCH)}
        self._process = subprocess.Popen(
            [python, "-P", "-c", _ASK, "gpu" if gpu else ""],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=rank_environment(kept),
        )

    def answer(self, seconds: float = _SECONDS) -> Abilities | str:
        """The answer, or in words why there is none."""
        try:
            out, err = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return f"MPI does not start in one process within {seconds:g} s"
        try:
            return Abilities(**json.loads(out.splitlines()[-1]))
        except (IndexError, ValueError):
            said = err.strip().rpartition("\n")[2] or f"exit code {self._process.returncode}"
            return f"MPI does not start in one process: {said}"


def components(launcher: str) -> str:
    """Of Open MPI, which ways for messages it brings, as the ompi_info beside its launcher says; else nothing."""
    asked = Path(launcher).with_name("ompi_info")
    if not asked.exists():
        return ""
    try:
        said = subprocess.run([asked, "--parsable"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found: dict[str, list[str]] = {}
    for kind, name in re.findall(r"^mca:(pml|mtl|btl):(\w+):version", said.stdout, re.MULTILINE):
        if name not in found.setdefault(kind, []):
            found[kind].append(name)
    return "; ".join(f"{kind} {', '.join(names)}" for kind, names in found.items())
