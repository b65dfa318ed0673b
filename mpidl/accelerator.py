"""The GPU that this process computes on, of whatever maker: what torch.accelerator leaves to be asked of each kind."""

from __future__ import annotations

import torch

KINDS = ("cuda", "xpu")
"""Those that are trained on. torch calls GPUs of NVIDIA and of AMD `cuda`, and Intel's `xpu`."""


def kind() -> str | None:
    """Which of them torch was built for, whether or not there is one; None where it was built for neither."""
    built = torch.accelerator.current_accelerator()
    return built.type if built is not None and built.type in KINDS else None


def count() -> int:
    """How many torch sees.

    It asks the driver's management library where it can, so that a process that has none does not start the driver.
    """
    return 0 if kind() is None else torch.accelerator.device_count()


def usable() -> int:
    """How many of them can train. Of Intel's it asks the driver, which is started for that."""
    there = count()
    return there if kind() != "xpu" else sum(not lacks_float64(torch.device("xpu", index)) for index in range(there))


def in_use() -> torch.device | None:
    """The current one with its number; None unless this process has begun to use one."""
    named = kind()
    if named is None or not torch.get_device_module(named).is_initialized():
        return None
    return torch.device(named, torch.accelerator.current_device_index())


def lacks_float64(device: torch.device) -> bool:
    """Whether it cannot compute in float64, as losses are summed: true of Intel's GPUs for graphics."""
    return device.type == "xpu" and not torch.get_device_module(device).get_device_properties(device).has_fp64
