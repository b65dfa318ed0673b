"""Whose GPUs there are, by stand-ins for the system's files, and which memory an MPI takes, by stand-ins for MPIs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mpidl import makers
from mpidl.makers import AMD, INTEL, NVIDIA, Maker

OPEN_MPI, MPICH = "Open MPI v5.0.11, package: x", "MPICH Version:      4.3.0"
CRAY, INTEL_MPI = "MPI VERSION    : CRAY MPICH version 8.1.28.29", "Intel(R) MPI Library 2021.13 for Linux* OS"


def library(**answers: int) -> Any:
    """Stands in for an MPI that answers so by functions whose names end in `_support`, and has no others."""
    return SimpleNamespace(
        **{f"MPIX_Query_{name}_support": lambda answer=answer: answer for name, answer in answers.items()}
    )


def claims(version: str, asked: Any, **environment: str) -> dict[str, bool | None]:
    return {maker.name: maker.claimed(asked, version, environment) for maker in makers.MAKERS}


def test_an_mpi_is_given_the_memory_of_a_maker_only_if_it_names_that_maker() -> None:
    open_mpi = library(cuda=1, rocm=0)
    assert claims(OPEN_MPI, open_mpi) == {"NVIDIA": True, "AMD": False, "Intel": None}
    assert claims(OPEN_MPI, library(cuda=0, rocm=1)) == {"NVIDIA": False, "AMD": True, "Intel": None}
    assert claims(MPICH, library(cuda=0, hip=1, ze=0)) == {"NVIDIA": False, "AMD": True, "Intel": False}
    assert claims(MPICH, library(cuda=0, hip=0, ze=1)) == {"NVIDIA": False, "AMD": False, "Intel": True}
    assert claims("another", library()) == {"NVIDIA": None, "AMD": None, "Intel": None}
    # Cray's and Intel's settings mean nothing to others.
    settings = {"MPICH_GPU_SUPPORT_ENABLED": "1", "I_MPI_OFFLOAD": "1"}
    assert claims(OPEN_MPI, open_mpi, **settings) == claims(OPEN_MPI, open_mpi)


def test_crays_mpi_needs_its_setting_and_the_layer_for_the_maker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(makers, "_mapped", lambda: ["7f00-7f10 r-xp 0 0:0 1 /opt/cray/lib/libmpi_gtl_hsa.so.0"])
    on = {"MPICH_GPU_SUPPORT_ENABLED": "1"}
    assert claims(CRAY, library(cuda=0)) == {"NVIDIA": False, "AMD": False, "Intel": False}
    assert claims(CRAY, library(cuda=0), **on) == {"NVIDIA": False, "AMD": True, "Intel": False}
    monkeypatch.setattr(makers, "_mapped", list)
    assert claims(CRAY, library(cuda=1), **on) == {"NVIDIA": True, "AMD": False, "Intel": False}
    assert claims(CRAY, library(cuda=1)) == {"NVIDIA": False, "AMD": False, "Intel": False}


@pytest.mark.parametrize(("offload", "taken"), [(None, False), ("0", False), ("1", True), ("2", True)])
def test_intels_mpi_takes_intels_memory_where_it_is_set_to(offload: str | None, taken: bool) -> None:
    built_for_all = library(cuda=1, hip=1, ze=1)
    environment = {} if offload is None else {"I_MPI_OFFLOAD": offload}
    assert claims(INTEL_MPI, built_for_all, **environment) == {"NVIDIA": False, "AMD": False, "Intel": taken}


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for a machine without a GPU: folders for /dev and /sys, in which nothing lies."""
    monkeypatch.setattr(makers, "DEV", tmp_path / "dev")
    monkeypatch.setattr(makers, "SYS", tmp_path / "sys")
    return tmp_path


def lay(file: Path, text: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def renderer(system: Path, number: int, vendor: str, place: str) -> None:
    """A graphics device at this place of the bus."""
    device = system / "sys/devices/pci0000:00" / place
    lay(device / "vendor", vendor + "\n")
    link = system / f"sys/class/drm/renderD{number}"
    link.mkdir(parents=True)
    (link / "device").symlink_to(device)
    lay(system / f"dev/dri/renderD{number}")


def rocm_node(system: Path, number: int, units: int) -> None:
    lay(system / f"sys/class/kfd/kfd/topology/nodes/{number}/properties", f"cpu_cores_count 0\nsimd_count {units}\n")


def built_for(maker: Maker | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(makers, "torch_build", lambda: maker and makers.Build(maker, "1"))


def test_cards_are_known_by_their_drivers_files(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert makers.here() == []
    lay(system / "dev/nvidiactl")
    assert makers.here() == [NVIDIA]
    lay(system / "dev/kfd")
    rocm_node(system, 0, 0)
    assert makers.here() == [NVIDIA], "of AMD there is a processor alone"
    rocm_node(system, 1, 880)
    renderer(system, 128, "0x8086", "0000:3a:00.0")
    assert makers.here() == [NVIDIA, AMD, INTEL]
    for maker, others in ((NVIDIA, "nvidia0"), (AMD, "kfd"), (INTEL, "renderD128")):
        built_for(maker, monkeypatch)
        assert makers.may_be_seen(), others
    built_for(None, monkeypatch)
    assert not makers.may_be_seen(), "torch for the CPU sees none"


def test_a_processors_own_graphics_are_for_torch_to_judge(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(system / "dev/kfd")
    rocm_node(system, 1, 24)
    renderer(system, 128, "0x8086", "0000:00:02.0")
    assert makers.here() == []
    for maker, seen in ((NVIDIA, False), (AMD, True), (INTEL, True)):
        built_for(maker, monkeypatch)
        assert makers.may_be_seen() is seen


def test_others_renderers_are_not_taken_for_intels(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer(system, 128, "0x10de", "0000:01:00.0")
    built_for(INTEL, monkeypatch)
    assert not makers.may_be_seen() and makers.here() == []
    lay(system / "dev/dxg")
    assert makers.may_be_seen(), "Windows does not say whose they are"


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("cuda = '12.8'\nhip = None\nxpu = None", "NVIDIA (CUDA 12.8)"),
        ("cuda = None\nhip = '6.4.1'\nrocm = '6.4'", "AMD (ROCm 6.4.1)"),
        ("cuda = None\nhip = None\nxpu = '20250301'", "Intel (SYCL 20250301)"),
        ("cuda = None\nhip = None", "None"),
    ],
)
def test_torchs_version_says_for_whom_it_was_built(
    says: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path / "version.py", says)
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(makers, "find_spec", lambda name: spec)
    assert str(makers.torch_build()) == words
