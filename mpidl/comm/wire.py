"""The memory of tensors as MPI wants it, and dtypes by the names that configurations and headers have for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpi4py import MPI

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def short_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def buffer(tensor: Tensor) -> list[Any]:
    """The bytes of a contiguous tensor, on any device and of any dtype; the caller keeps the tensor alive."""
    return [MPI.buffer.fromaddress(tensor.data_ptr(), tensor.nbytes), MPI.BYTE]
