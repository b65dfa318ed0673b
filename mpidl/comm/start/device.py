"""Which device a rank computes on: chosen before MPI starts, from what the launcher says."""

from __future__ import annotations

import torch

from mpidl.errors import ConfigError


def choose(wanted: str, local_rank: int) -> torch.device:
    """The device of the process that is number `local_rank` on its host.

    CUDA_VISIBLE_DEVICES is never written. Where a scheduler has narrowed it to one GPU a process, that one is number 0
    for each of them; otherwise the ranks of a host take the visible GPUs in turn.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"{wanted!r} is not a device (auto, cpu, cuda)", "train.device")
    # torch counts the GPUs through NVML where it can, so that a rank without one never starts CUDA.
    visible = 0 if wanted == "cpu" else torch.cuda.device_count()
    if wanted == "cuda" and not visible:
        raise ConfigError(f"'cuda' cannot be used here: {why_none()}; say auto or cpu", "train.device")
    if not visible:
        return torch.device("cpu")
    device = torch.device("cuda", local_rank % visible)
    try:
        torch.cuda.set_device(device)
        # A CUDA-aware MPI looks for the context when it starts.
        torch.zeros(1, device=device)
    except RuntimeError as error:
        # An old driver, or another process that has the GPU to itself: counting does not tell.
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{device} is there, but cannot be used: {reason}; say cpu", "train.device") from error
    return device


def why_none() -> str:
    """Why there is no GPU to compute on, where there is none."""
    return "torch was installed without CUDA" if torch.version.cuda is None else "torch sees no GPU"


def resolve(device: str | torch.device) -> torch.device:
    """The device with its number: `cuda` is the one that `choose` made current, `auto` that one or else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_initialized() else "cpu"
    named = torch.device(device)
    return torch.device("cuda", torch.cuda.current_device()) if named.type == "cuda" and named.index is None else named


def name(device: torch.device) -> str:
    """What a person calls it: `cpu`, or `cuda:1 (NVIDIA H200)`."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def identity(device: torch.device) -> str:
    """The same text for the same GPU on one host, whatever number each rank calls it; empty for the CPU."""
    return str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else ""
