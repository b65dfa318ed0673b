"""The numbers that a network computes with, beside those that rows hold, and how torch is to compute."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch.utils import deterministic as filling

from mpidl import accelerator

Name = Literal["float32", "float64", "bfloat16", "float16"]


@dataclass(frozen=True)
class Precision:
    """Rows of dtype `rows`; where `autocast` is a dtype, torch computes what it can in that.

    Small gradients vanish in float16, so the loss is multiplied by `loss_scale`, a power of two, and the gradient row
    divided by it: no bit is lost, nothing has to be remembered. A scale that is too large overflows and is noticed as
    divergence.
    """

    rows: torch.dtype
    autocast: torch.dtype | None = None
    loss_scale: float = 1.0

    @classmethod
    def named(cls, name: Name, loss_scale: float = 1.0) -> Precision:
        """Rows in the named precision; the 16-bit ones keep rows in float32."""
        dtype = getattr(torch, name)
        if dtype.itemsize > 2:
            return cls(dtype)
        return cls(torch.float32, dtype, loss_scale if dtype == torch.float16 else 1.0)

    def context(self, device: torch.device) -> AbstractContextManager[object]:
        """Inside, modules compute in this precision."""
        return nullcontext() if self.autocast is None else torch.autocast(device.type, self.autocast)


def set_arithmetic(tf32: bool, deterministic: bool) -> None:
    """For this process: whether a GPU may round to TF32, and whether torch may use only what repeats its bits."""
    # Of NVIDIA; of Intel, where to say so for others is warned of.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    if accelerator.kind() == "xpu":
        torch.backends.mkldnn.allow_tf32 = tf32  # type: ignore[assignment]  # a property of a module
    # As torch.use_deterministic_algorithms, but without its import of the compiler, which takes a second.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    # Filling fresh memory only shows the use of uninitialised values; it would cost a pass over every temporary.
    filling.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of a module
    if deterministic:
        # Read by cuBLAS when it is first used; without it, its matrix products are refused.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
