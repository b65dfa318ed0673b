"""Reading rows, as tensors, out of whatever holds them: numpy arrays, tensors, memory maps, files."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mpidl.data.checks import check_finite, in_memory


def row_bytes(array: Any) -> int:
    """Bytes that one row takes."""
    item = array.element_size() if isinstance(array, torch.Tensor) else np.dtype(array.dtype).itemsize
    return item * int(np.prod(array.shape[1:], dtype=np.int64))


def take(array: Any, indices: np.ndarray) -> torch.Tensor:
    """A copy of the rows of these indices, in this order, in host memory."""
    if isinstance(array, torch.Tensor):
        return array.detach().cpu()[torch.from_numpy(indices)]
    if isinstance(array, np.ndarray):
        return tensor(array[indices])
    if hasattr(array, "take"):
        return tensor(array.take(indices))
    # h5py's own data sets take ascending indices, each once.
    ascending, back = np.unique(indices, return_inverse=True)
    return tensor(np.asarray(array[ascending])[back])


def whole(array: Any) -> torch.Tensor:
    """All rows, in place where they stand in memory already."""
    if isinstance(array, torch.Tensor):
        return array.detach()
    if in_memory(array):
        return tensor(array)
    return take(array, np.arange(array.shape[0]))


def finite(name: str, array: Any, indices: np.ndarray | None) -> torch.Tensor:
    """The rows of these indices, or all, refused where a number in them is not finite.

    Only what was not in memory is looked at: the rest was when the data set was made.
    """
    rows = whole(array) if indices is None else take(array, indices)
    if not in_memory(array):
        check_finite(name, rows, indices)
    return rows


def tensor(array: np.ndarray) -> torch.Tensor:
    """The array as a tensor, sharing its memory where torch can."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(f"i{min(8, 2 * array.dtype.itemsize)}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not array.flags.writeable or not array.flags.c_contiguous:
        array = array.copy()
    return torch.from_numpy(array)
