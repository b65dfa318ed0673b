"""Whose code it was that raised while a run computes: the model's, the loss's or the algorithm's."""

from __future__ import annotations

import traceback

import torch
from torch import nn

from mpidl.errors import ConfigError, Diverged, MpidlError, Stopped
from mpidl.sentences import told

# How torch says so, whatever the operation.
_NO_KERNEL = "does not have a deterministic implementation"


def failed(error: Exception, key: str, name: str) -> Exception:
    """One sentence that names the part; the error itself where the part is not to blame for it.

    That is for mpidl's own errors, for those of MPI, and where memory has run out. Only what follows a round can say
    that all ranks end there (Stopped, Diverged): a part that says so does it alone, and the others would wait for it.
    """
    alone = isinstance(error, (Stopped, Diverged))
    foreign = not alone and isinstance(error, (MpidlError, MemoryError, torch.OutOfMemoryError))
    if foreign or type(error).__module__.startswith("mpi4py"):
        return error
    text = " ".join(str(error).split()) if isinstance(error, RuntimeError) else ""
    if _NO_KERNEL in text:
        what = text.partition(_NO_KERNEL)[0].strip()
        return ConfigError(
            f"true, but {name!r} ({key}) uses {what}, which torch cannot compute deterministically here; "
            "say false, or use another",
            "train.deterministic",
        )
    return ConfigError(f"{name!r} failed: {told(error)}", key)


def network_failed(error: Exception, module: nn.Module, model: str, loss: str) -> Exception:
    """The same where a loss has called a network: blames the network if it was being called, else the loss."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    called = any(frame.f_locals.get("self") is module for frame in frames)
    return failed(error, "model", model) if called else failed(error, "loss", loss)
