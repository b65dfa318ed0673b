"""Which device a rank computes on: chosen before MPI starts, from what the launcher says."""

from __future__ import annotations

from typing import Any

import torch

from mpidl import accelerator, makers
from mpidl.errors import ConfigError

CHOICES = ("auto", "cpu", *accelerator.KINDS)


def choose(wanted: str, local_rank: int) -> torch.device:
    """The device of the process that is number `local_rank` on its host.

    What narrows the GPUs that a process sees is never written (CUDA_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES,
    ZE_AFFINITY_MASK). Where a scheduler has narrowed it to one GPU a process, that one is number 0 for each of them;
    otherwise the ranks of a host take the visible GPUs in turn.
    """
    require(wanted)
    kind, visible = accelerator.kind(), 0 if wanted == "cpu" else accelerator.count()
    if kind is None or not visible:
        return torch.device("cpu")
    device = torch.device(kind, local_rank % visible)
    try:
        torch.accelerator.set_device_index(device)
        # An MPI that knows of GPUs looks for the context when it starts.
        torch.zeros(1, device=device)
    except RuntimeError as error:
        # An old driver, or another process that has the GPU to itself: counting does not tell.
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{device} is there, but cannot be used: {reason}; say cpu", "train.device") from error
    if accelerator.lacks_float64(device):
        if wanted == "auto":
            return torch.device("cpu")
        raise ConfigError(
            f"{name(device)} does not compute in float64, in which losses are summed; say auto or cpu", "train.device"
        )
    return device


def require(wanted: str) -> None:
    """Refuses a kind of GPU that this process sees none of, and a word that is no device."""
    if wanted not in CHOICES:
        raise ConfigError(f"{wanted!r} is not a device ({', '.join(CHOICES)})", "train.device")
    if wanted in accelerator.KINDS and not (wanted == accelerator.kind() and accelerator.count()):
        raise ConfigError(
            f"{wanted!r} cannot be used here: {why_none(wanted)}; say auto or cpu, as in -s train.device=auto",
            "train.device",
        )


def why_none(wanted: str = "auto") -> str:
    """Why there is no GPU (of this kind) to compute on, where there is none."""
    build = makers.torch_build()
    if build is None:
        return "torch was installed for the CPU alone"
    if wanted not in ("auto", build.maker.device):
        return f"torch was built for GPUs of {build}"
    hidden = build.maker.hidden_by()
    return f"torch, built for {build}, sees no GPU{hidden and f' with {hidden}'}"


def resolve(device: str | torch.device) -> torch.device:
    """The device with its number: `cuda` and `xpu` are what `choose` made current, `auto` that one or else the CPU."""
    used = accelerator.in_use()
    if device == "auto":
        return torch.device("cpu") if used is None or accelerator.lacks_float64(used) else used
    named = torch.device(device)
    return used if used is not None and named.type == used.type and named.index is None else named


def name(device: torch.device) -> str:
    """What a person calls it: `cpu`, or `cuda:1 (NVIDIA H200)`."""
    return str(device) if device.type == "cpu" else f"{device} ({_module(device).get_device_name(device)})"


def identity(device: torch.device) -> str:
    """The same text for the same GPU on one host, whatever number each rank calls it; empty for the CPU."""
    if device.type == "cpu":
        return ""
    uuid = getattr(_module(device).get_device_properties(device), "uuid", None)
    if uuid is not None:
        return str(uuid)
    # An older torch does not tell those of Intel's GPUs.
    build = makers.torch_build()
    return f"{device} {build.maker.hidden_by() if build else ''}"


def _module(device: torch.device) -> Any:
    """torch.cuda or torch.xpu."""
    return torch.get_device_module(device)
