"""The numbers that a network computes with, beside those that rows hold."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

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
