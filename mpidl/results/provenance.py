"""Where a run comes from: code, command, versions, machines, time; gathered once, by rank 0."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import mpidl
from mpidl.config import leaves

_PACKAGES = ("torch", "numpy", "mpi4py", "h5py", "pydantic", "networkx", "scipy")

# Scheduler → the variable that holds the job's id, in the order in which they are asked.
_JOB_VARIABLES = {"slurm": "SLURM_JOB_ID", "pbs": "PBS_JOBID", "lsf": "LSB_JOBID", "cobalt": "COBALT_JOBID"}


def gather(
    argv: Sequence[str] | None = None,
    hosts: Sequence[str] | None = None,
    gpus: Sequence[str] = (),
    mpi_library: str = "",
) -> dict[str, Any]:
    """Provenance of a run started in the current folder; hosts and GPUs are listed by rank."""
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "folder": str(Path.cwd()),
        "argv": list(sys.argv if argv is None else argv),
        "hosts": [platform.node()] if hosts is None else list(hosts),
        "gpus": list(gpus),
        "job_id": job_id(),
        "mpi": mpi_library,
        "started": utc_now(),
        "platform": platform.platform(),
        "versions": versions(),
    }


def utc_now() -> str:
    """The time as `2026-01-31T12:00:00Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def job_id() -> str:
    """`slurm 4711` inside a scheduler's job, otherwise empty."""
    for scheduler, variable in _JOB_VARIABLES.items():
        if os.environ.get(variable):
            return f"{scheduler} {os.environ[variable]}"
    return ""


def versions() -> dict[str, str]:
    """Versions of Python, mpidl and what the numbers depend on."""
    packages = {"python": platform.python_version(), "mpidl": mpidl.__version__}
    for package in _PACKAGES:
        try:
            packages[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            packages[package] = "absent"
    packages["hdf5"] = _hdf5()
    return packages


def plug_ins(config: Mapping[str, Any]) -> dict[str, str]:
    """The file of every plug-in that a configuration names, by its digest; they have been imported by now.

    What such a file imports may still change unseen.
    """
    known = {}
    for key, value in leaves("", config):
        if key.endswith(".name") and ":" in str(value):
            file = getattr(sys.modules.get(value.partition(":")[0]), "__file__", None)
            # Some modules have no file: they come with the interpreter, or were made while it ran.
            known[f"the digest of {value}"] = sha256(Path(file).read_bytes()).hexdigest()[:16] if file else "none"
    return known


def _hdf5() -> str:
    """The version of the HDF5 library that h5py brings."""
    import h5py

    return h5py.version.hdf5_version


def _git(*arguments: str) -> str:
    """What git answers about the current folder; empty where there is no git or no repository."""
    try:
        answer = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
