"""`mpidl env`: what a bug report needs to say about a machine."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import click

from mpidl.errors import LaunchError


@click.command()
def env() -> None:
    """Versions, MPI and its launcher, HDF5, GPUs, scheduler and cores; nothing is started, copy and paste all of it."""
    for name, lines in _report().items():
        for place, line in enumerate(lines or ["none"]):
            click.echo(f"{name if place == 0 else '':<10} {line}")


def _report() -> dict[str, list[str]]:
    from mpidl.launch.surroundings import scheduler
    from mpidl.results.provenance import versions

    packages = versions()
    return {
        "mpidl": [f"{packages.pop('mpidl')} ({Path(__file__).parents[1]})"],
        "python": [f"{packages.pop('python')} ({sys.executable})"],
        "system": [platform.platform(), *_processor()],
        "packages": [", ".join(f"{package} {version}" for package, version in packages.items())],
        "MPI": _or_reason(_mpi),
        "GPU": _gpus(),
        "scheduler": list(filter(None, [scheduler()])),
        "variables": _variables(),
    }


def _or_reason(ask: Callable[[], list[str]]) -> list[str]:
    try:
        return ask()
    except LaunchError as error:
        return [str(error)]


def _mpi() -> list[str]:
    from mpidl.launch.launcher import find_launcher
    from mpidl.launch.library import find_library

    library = find_library()
    lines = [f"{library}, by mpi4py {library.mpi4py}"]
    return lines + _or_reason(lambda: [f"started by {find_launcher(library).path}"])


def _processor() -> list[str]:
    from mpidl.launch.surroundings import cores

    model = platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        lines = described.read_text(errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return [f"{model}, {cores()} of {os.cpu_count()} cores for this process"]


def _gpus() -> list[str]:
    import torch

    devices = (torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count()))
    return [f"{device.name}, {device.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}" for device in devices]


def _variables() -> list[str]:
    """Settings that change how ranks start or compute."""
    prefixes = (
        "MPIDL_",
        "OMP_",
        "OMPI_",
        "MKL_",
        "CUDA_VISIBLE",
        "MPI4PY_",
        "UCX_",
        "FI_",
        "I_MPI_",
        "MPICH_",
        "HDF5_",
    )
    return [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(prefixes)]
