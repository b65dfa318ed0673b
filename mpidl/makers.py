"""Whose GPUs there are, and what each maker calls its own: device files, variables, an MPI's word for them.

torch, which is built for one maker's, makes all else alike (`torch.accelerator`); it calls those of NVIDIA and of AMD
both `cuda`. Nothing here imports it.
"""

from __future__ import annotations

import ctypes
import os
import runpy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

DEV, SYS = Path("/dev"), Path("/sys")
# A processor's own graphics have fewer units than any card for computing; the kernel counts them alike.
_LEAST_UNITS = 64


@dataclass(frozen=True)
class Maker:
    """`device` is torch's name for its GPUs, `toolkit` what torch is built with for them, its version in torch's as
    `build`. `runtime` is by what other libraries reach their memory, `queries` the functions by which MPI libraries say
    whether they do, and `layer` the library through which Cray's does. `variables` narrow what a process sees, and
    `tool` shows its GPUs.
    """

    name: str
    device: str
    toolkit: str
    build: str
    runtime: str
    queries: tuple[str, ...]
    layer: str
    variables: tuple[str, ...]
    tool: str

    def claimed(self, library: ctypes.CDLL, version: str, environment: Mapping[str, str] = os.environ) -> bool | None:
        """Whether an MPI library, which must have been started, says that it takes this maker's memory; None if it says
        nothing of it.

        Open MPI and MPICH answer by a function for each maker, the first of them for NVIDIA and AMD alone. Where a
        setting decides, functions tell how a library was built, and not whether the setting is on: Cray's MPI needs one
        setting for all makers and a library for each, Intel's takes memory of Intel's GPUs alone.
        """
        answers = [bool(getattr(library, query)()) for query in self.queries if hasattr(library, query)]
        if "Intel(R) MPI" in version:
            return self.device == "xpu" and environment.get("I_MPI_OFFLOAD", "0") not in ("", "0")
        if "CRAY MPICH" in version:
            loaded = any(answers) or any(self.layer in line for line in _mapped())
            return environment.get("MPICH_GPU_SUPPORT_ENABLED") == "1" and loaded
        return any(answers) if answers else None

    def hidden_by(self, environment: Mapping[str, str] = os.environ) -> str:
        """The variables that narrow what this process sees, as `NAME=value`; empty where none is set."""
        return ", ".join(f"{name}={environment[name]}" for name in self.variables if name in environment)


NVIDIA = Maker(
    name="NVIDIA",
    device="cuda",
    toolkit="CUDA",
    build="cuda",
    runtime="CUDA",
    queries=("MPIX_Query_cuda_support",),
    layer="libmpi_gtl_cuda",
    variables=("CUDA_VISIBLE_DEVICES",),
    tool="nvidia-smi",
)
AMD = Maker(
    name="AMD",
    device="cuda",
    toolkit="ROCm",
    build="hip",
    runtime="ROCm",
    # Open MPI's, and MPICH's.
    queries=("MPIX_Query_rocm_support", "MPIX_Query_hip_support"),
    layer="libmpi_gtl_hsa",
    variables=("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
    tool="rocm-smi",
)
INTEL = Maker(
    name="Intel",
    device="xpu",
    toolkit="SYCL",
    build="xpu",
    runtime="Level Zero",
    # MPICH's; Open MPI has none.
    queries=("MPIX_Query_ze_support",),
    layer="libmpi_gtl_ze",
    variables=("ZE_AFFINITY_MASK", "ONEAPI_DEVICE_SELECTOR"),
    tool="xpu-smi",
)
MAKERS = (NVIDIA, AMD, INTEL)


def _mapped() -> list[str]:
    """The files that this process has loaded, where the system tells."""
    try:
        return Path("/proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:
        return []


@dataclass(frozen=True)
class Build:
    """The maker for whose GPUs torch was built, and with which version of its toolkit."""

    maker: Maker
    version: str

    def __str__(self) -> str:
        return f"{self.maker.name} ({self.maker.toolkit} {self.version})"


def torch_build() -> Build | None:
    """For whose GPUs torch was built, read from its version without importing it; None: for the CPU alone."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    says = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    return next((Build(maker, says[maker.build]) for maker in MAKERS if says.get(maker.build)), None)


def may_be_seen() -> bool:
    """Whether there is a device file of the maker for whom torch was built: without one torch, which takes a second to
    import, finds no GPU."""
    build = torch_build()
    if build is None:
        return False
    # The last is how Windows hands GPUs of any maker to Linux.
    return (DEV / "dxg").exists() or any(True for _ in _FILES[build.maker]())


def here() -> list[Maker]:
    """Whose GPUs for computing this process is given, as their drivers say, whatever torch was built for.

    A processor's own graphics do not count: whether they can be trained on torch alone says.
    """
    found = {NVIDIA: (DEV / "nvidiactl").exists(), AMD: any(_amd_cards()), INTEL: any(_intel_cards())}
    return [maker for maker in MAKERS if found[maker]]


def _nvidia_files() -> Iterator[Path]:
    """Of cards, and of boards that have one built in."""
    for pattern in ("nvidia*", "nvhost*", "nvgpu*", "nvmap"):
        yield from DEV.glob(pattern)


def _amd_files() -> Iterator[Path]:
    yield from DEV.glob("kfd")


def _intel_files() -> Iterator[Path]:
    """Those of renderers that are Intel's."""
    for file in sorted(DEV.glob("dri/renderD*")):
        if _text(SYS / "class/drm" / file.name / "device/vendor") == "0x8086":
            yield file


_FILES: dict[Maker, Callable[[], Iterator[Path]]] = {NVIDIA: _nvidia_files, AMD: _amd_files, INTEL: _intel_files}


def _amd_cards() -> Iterator[int]:
    """Units of each GPU that ROCm's driver lists; it lists processors, too, which have none."""
    for file in SYS.glob("class/kfd/kfd/topology/nodes/*/properties") if (DEV / "kfd").exists() else ():
        words = dict(line.split(maxsplit=1) for line in _text(file).splitlines() if " " in line)
        units = int(words.get("simd_count", 0))
        if units >= _LEAST_UNITS:
            yield units


def _intel_cards() -> Iterator[Path]:
    """The device files of cards; a processor's own graphics are always at one place of the bus."""
    for file in _intel_files():
        if (SYS / "class/drm" / file.name / "device").resolve().name != "0000:00:02.0":
            yield file


def _text(file: Path) -> str:
    """What a file of the system's says; nothing where it cannot be read."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
