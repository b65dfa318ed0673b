"""What a machine gives to runs: cores, GPUs, disks; and what of it a person should mend."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mpidl import makers
from mpidl.launch.folders import SHARED_MEMORY
from mpidl.launch.surroundings import cores
from mpidl.sentences import ranges

_PROCESSOR, _MOUNTS = Path("/proc/cpuinfo"), Path("/proc/mounts")
_LEAST_DISK, _LEAST_SHARED = 2**30, 2**26
# Whose locks, or whose data after a while, are not those of a disk.
_PASSING = ("tmpfs", "ramfs", "overlay")


@dataclass(frozen=True)
class Disk:
    """Where a folder lies, or will: bytes, the kind of file system, and why it cannot be written, if so."""

    folder: Path
    total: int
    left: int
    kind: str
    problem: str = ""

    def __str__(self) -> str:
        there = f"{_gib(self.left)} of {_gib(self.total)} GiB free, {self.kind or 'file system unknown'}"
        return f"{self.folder}: {there}, {f'cannot be written ({self.problem})' if self.problem else 'can be written'}"


def disk(folder: Path) -> Disk | None:
    """The disk of a folder, or of the nearest one above it that is there; None for one that cannot be looked at."""
    place = folder.absolute()
    try:
        while not place.exists():
            place = place.parent
        total, _, left = shutil.disk_usage(place)
    except OSError:
        return None
    problem = ""
    try:
        # Only a try tells: permissions do not know of quotas and read-only mounts.
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        problem = error.strerror or str(error)
    return Disk(place, total, left, _kind(place), problem)


def shared_memory() -> Disk | None:
    """Where ranks of this host share memory."""
    return disk(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None


def _kind(folder: Path) -> str:
    """The file system of a folder: of the mounts above it, the last one of the longest path."""
    try:
        mounts = [line.split()[1:3] for line in _MOUNTS.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    # Blanks in a path stand there as octal numbers.
    paths = [(Path(path.replace("\\040", " ")), kind) for path, kind in mounts]
    found = [(len(path.parts), kind) for path, kind in paths if folder.resolve().is_relative_to(path)]
    return max(reversed(found), key=lambda each: each[0])[1] if found else ""


def processor() -> str:
    """Its model, the cores that this process may use, and which they are."""
    model = os.uname().machine
    if _PROCESSOR.exists():
        lines = _PROCESSOR.read_text(errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    numbers = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    which = f" (affinity {ranges(numbers)})" if numbers else ""
    return f"{model}, {cores()} of {os.cpu_count()} cores for this process{which}"


def gpus() -> Iterator[str]:
    """Each GPU that torch sees, and which ranks of this host would get it."""
    import torch

    from mpidl import accelerator

    kind, build, count = accelerator.kind(), makers.torch_build(), accelerator.count()
    for index in range(count):
        device = torch.get_device_module(kind).get_device_properties(index)
        ranks = f"rank {index} of this host, {index + count}, {index + 2 * count}, …"
        if accelerator.lacks_float64(torch.device(f"{kind}:{index}")):
            ranks = "no rank, as it does not compute in float64"
        yield f"{kind}:{index} {device.name}, {device.total_memory / 2**30:.0f} GiB, {build}: {ranks}"


def warnings(output: Disk | None, memory: Disk | None, threads: str | None, gpus: int) -> Iterator[str]:
    """What a run would suffer from here, each with its cure; `threads` is OMP_NUM_THREADS."""
    if output is not None and output.problem:
        yield f"{output.folder} cannot be written ({output.problem}): name another output with -o"
    elif output is not None and output.left < _LEAST_DISK:
        yield f"only {_gib(output.left)} GiB are free in {output.folder}: make room, or name another output with -o"
    if output is not None and output.kind in _PASSING:
        yield f"{output.folder} is {output.kind}, and may not outlast the job: name a disk with -o"
    if memory is None or memory.problem:
        yield f"{SHARED_MEMORY} cannot be used, so that ranks of a host send messages: mount a tmpfs there"
    elif memory.left < _LEAST_SHARED:
        yield (
            f"only {memory.left / 2**20:.0f} MiB are free in {SHARED_MEMORY}, and rows beyond that travel as messages: "
            "remove what lies there, or start the container with --shm-size=8g"
        )
    if threads is not None and threads.isdigit() and int(threads) > cores():
        yield f"OMP_NUM_THREADS={threads} is more than the {cores()} cores here: unset it, and ranks take one each"
    build = makers.torch_build()
    for maker in () if gpus else makers.here():
        if build is not None and build.maker is maker:
            lack = f"does not see it{maker.hidden_by() and f' with {maker.hidden_by()}'}: look at {maker.tool}"
        else:
            lack = f"was built for {'the CPU alone' if build is None else build}: install its build for {maker.toolkit}"
        yield f"there is a GPU of {maker.name}, but torch {lack}; runs compute on the CPU"


def _gib(count: int) -> str:
    return f"{count / 2**30:,.1f}"
