"""What `mpidl env` says of a machine: disks and their kinds, what MPI can do, and what to mend, each with its cure."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mpidl import makers
from mpidl.launch import machine
from mpidl.launch.abilities import Abilities, Question, components
from mpidl.launch.machine import Disk, disk, warnings

GOOD = Disk(Path("/data"), 2**40, 2**39, "ext4")
MEMORY = Disk(Path("/dev/shm"), 2**34, 2**33, "tmpfs")


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_disk_of_a_folder_that_is_not_there_is_that_of_the_nearest_above(tmp_path: Path) -> None:
    found = disk(tmp_path / "runs" / "today")
    assert found is not None and found.folder == tmp_path and found.total >= found.left > 0 and found.problem == ""
    assert "can be written" in str(found)
    (tmp_path / "file").write_text("")
    below = disk(tmp_path / "file" / "below")
    assert below is not None and "cannot be written (Not a directory)" in str(below)


def test_the_kind_is_that_of_the_innermost_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a b"
    inner.mkdir()
    (tmp_path / "mounts").write_text(
        f"disk / ext4 rw 0 0\nserver {str(inner)} nfs rw 0 0\n".replace("a b", "a\\040b") + f"x {tmp_path} xfs rw 0 0\n"
    )
    monkeypatch.setattr(machine, "_MOUNTS", tmp_path / "mounts")
    kinds = [found.kind for found in map(disk, (inner, tmp_path, Path("/"))) if found]
    assert kinds == ["nfs", "xfs", "ext4"]


@pytest.mark.parametrize(
    ("output", "memory", "threads", "word", "cure"),
    [
        (Disk(Path("/data"), 9, 2**40, "nfs", "Read-only file system"), MEMORY, None, "Read-only", "-o"),
        (Disk(Path("/data"), 9, 2**20, "ext4"), MEMORY, None, "0.0 GiB are free", "make room"),
        (Disk(Path("/tmp"), 9, 2**40, "tmpfs"), MEMORY, None, "may not outlast", "name a disk"),
        (GOOD, None, None, "/dev/shm cannot be used", "mount a tmpfs"),
        (GOOD, Disk(Path("/dev/shm"), 2**26, 2**20, "tmpfs"), None, "only 1 MiB", "--shm-size"),
        (GOOD, MEMORY, "4096", "OMP_NUM_THREADS=4096", "unset it"),
    ],
)
def test_what_is_amiss_is_told_with_its_cure(
    output: Disk, memory: Disk | None, threads: str | None, word: str, cure: str
) -> None:
    (text,) = warnings(output, memory, threads, 1)
    assert word in text.partition(": ")[0] and cure in text.partition(": ")[2]


def test_where_all_is_well_there_is_no_warning() -> None:
    assert list(warnings(GOOD, MEMORY, "1", 1)) == []


def test_a_gpu_that_torch_was_not_built_for_or_does_not_see_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(makers, "here", lambda: [makers.AMD])
    told = {}
    for build in (None, makers.Build(makers.NVIDIA, "12.8"), makers.Build(makers.AMD, "6.4")):
        monkeypatch.setattr(makers, "torch_build", lambda build=build: build)
        (told[build and build.maker],) = warnings(GOOD, MEMORY, "1", 0)
    assert told == {
        None: "there is a GPU of AMD, but torch was built for the CPU alone: install its build for ROCm; runs compute "
        "on the CPU",
        makers.NVIDIA: "there is a GPU of AMD, but torch was built for NVIDIA (CUDA 12.8): install its build for ROCm; "
        "runs compute on the CPU",
        makers.AMD: "there is a GPU of AMD, but torch does not see it: look at rocm-smi; runs compute on the CPU",
    }


@pytest.mark.parametrize("maker", [makers.AMD, makers.INTEL], ids=str)
def test_gpus_are_listed_with_their_maker_and_the_ranks_that_get_them(
    maker: makers.Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, card = maker.device, SimpleNamespace(name="Card", total_memory=64 * 2**30, has_fp64=True)
    monkeypatch.setattr(makers, "torch_build", lambda: makers.Build(maker, "1"))
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(getattr(torch, kind), "get_device_properties", lambda index: card)
    first, second = machine.gpus()
    assert first == f"{kind}:0 Card, 64 GiB, {maker.name} ({maker.toolkit} 1): rank 0 of this host, 2, 4, …"
    assert second.startswith(f"{kind}:1 ")
    if kind == "xpu":
        card.has_fp64 = False
        assert next(machine.gpus()).endswith(": no rank, as it does not compute in float64")


def test_an_mpi_that_does_not_start_is_told_in_its_own_words(tmp_path: Path) -> None:
    failing = Question(False, program(tmp_path / "failing", "echo noise >&2; echo no network >&2; exit 3"))
    silent = Question(False, program(tmp_path / "silent", "exit 3"))
    waiting = Question(False, program(tmp_path / "waiting", "exec sleep 60"))
    assert failing.answer() == "MPI does not start in one process: no network"
    assert silent.answer() == "MPI does not start in one process: exit code 3"
    assert waiting.answer(0.1) == "MPI does not start in one process within 0.1 s"


def test_what_mpi_can_do_is_told_in_words() -> None:
    words = " | ".join(
        Abilities(
            "serialized", False, {"CUDA": True, "ROCm": False, "Level Zero": None}, False, {"UCX": "1.20.1"}
        ).lines()
    )
    assert words == (
        "thread level serialized; functions for ranks that fail (ULFM): absent | as it says, it knows CUDA, knows no "
        "ROCm, says nothing of Level Zero; it does not take a GPU's memory | UCX 1.20.1"
    )


def test_the_ways_of_open_mpi_are_those_that_it_lists_itself(tmp_path: Path) -> None:
    lines = ["mca:btl:sm:version:1", "mca:btl:tcp:version:1", "mca:btl:sm:version:2", "mca:coll:tuned:version:1"]
    program(tmp_path / "ompi_info", "\n".join(f"echo {line}" for line in [*lines, "mca:pml:ucx:version:5"]))
    assert components(str(tmp_path / "mpirun")) == "btl sm, tcp; pml ucx"
    assert components(str(tmp_path / "elsewhere" / "mpirun")) == ""
