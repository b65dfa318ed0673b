"""A data set as memory that other processes of a node can map, so that one of them loads it for all."""

from __future__ import annotations

import io
import mmap
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mpidl.data.checks import in_memory
from mpidl.data.dataset import Dataset
from mpidl.errors import DataError
from mpidl.sentences import printable, told

# Where arrays begin: on a boundary of what torch gives to tensors of their own.
_BOUNDARY = 64


class NotPortable(Exception):
    """Why data cannot be handed to another process, in words."""


@dataclass(frozen=True)
class PackedData:
    """Bytes for memory of `size` bytes, each piece with where it begins, and in `outline` whatever else there is."""

    outline: bytes
    size: int
    pieces: tuple[tuple[int, np.ndarray], ...]


def pack(dataset: Dataset) -> PackedData:
    """The data set as bytes, with what has been found out about it, such as its number of outputs.

    Arrays and tensors go into memory; of rows in files only where they lie. NotPortable where some of it might not be
    the same in another process.
    """
    if type(dataset) is not Dataset:
        raise NotPortable(f"the data set is a {_named(dataset)}, a class of a user's own")
    for name in ("x", "y", "x_test", "y_test"):
        _check(name, getattr(dataset, name))
    if dataset.owner is not None and not isinstance(dataset.owner, list | tuple):
        _check("owner", dataset.owner)
    outline = io.BytesIO()
    packer = _Packer(outline)
    try:
        packer.dump(dataset)
    except NotPortable:
        raise
    except Exception as error:
        # Portable rows are objects of a user's, who says what is pickled of them.
        raise NotPortable(f"they cannot be pickled ({told(error)})") from error
    return PackedData(outline.getvalue(), max(1, packer.size), tuple(packer.pieces))


def unpack(outline: bytes, memory: memoryview) -> Dataset:
    """The data set again, without a look at its numbers; its arrays are the memory, which must be writable."""
    try:
        dataset: Dataset = _Unpacker(io.BytesIO(outline), memory).load()
    except Exception as error:
        raise DataError(f"data that say they are portable cannot be read by another process: {told(error)}") from error
    return dataset


def _check(name: str, rows: Any) -> None:
    """Refuses rows that might be others in another process of this node."""
    if isinstance(rows, torch.Tensor):
        if not _is_plain(rows):
            raise NotPortable(f"{name} is no plain tensor in this host's memory")
    elif isinstance(rows, np.memmap):
        if not _is_whole_file(rows):
            raise NotPortable(f"{name} is part of a file, or of one that may be changed, and no np.memmap in mode r")
    elif not _is_portable(rows):
        raise NotPortable(f"{name} is a {_named(rows)}, which does not say that it is portable")


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is no more than numbers in main memory."""
    strided = tensor.layout == torch.strided and not tensor.is_quantized and not torch.is_neg(tensor)
    return type(tensor) is torch.Tensor and tensor.device.type == "cpu" and strided


def _is_whole_file(rows: np.memmap) -> bool:
    """Whether a file holds just these rows, for another process, too: a part of them does not tell where it begins."""
    base: Any = rows.base
    named = rows.filename is not None and Path(rows.filename).is_file()
    return isinstance(base, mmap.mmap) and rows.mode == "r" and named


def _is_portable(rows: Any) -> bool:
    """Whether an array is no more than numbers; or rows that stay elsewhere say that another process can read them."""
    return type(rows) is np.ndarray if in_memory(rows) else getattr(type(rows), "portable", False) is True


def _named(value: Any) -> str:
    return printable(type(value).__name__, 100)


class _Packer(pickle.Pickler):
    """Pickles all but numbers, which it puts one after another."""

    def __init__(self, outline: io.BytesIO) -> None:
        super().__init__(outline, protocol=5)
        self.size = 0
        self.pieces: list[tuple[int, np.ndarray]] = []
        # With what is known by its id, so that nothing else gets that meanwhile.
        self._known: dict[int, tuple[Any, tuple[Any, ...]]] = {}

    def persistent_id(self, value: Any) -> tuple[Any, ...] | None:
        if isinstance(value, np.memmap):
            if not _is_whole_file(value):
                raise NotPortable("they have part of a file, or of one that may be changed")
            order = "C" if value.flags.c_contiguous else "F"
            return "map", str(value.filename), value.dtype, value.offset, value.shape, order
        if isinstance(value, torch.Tensor) and _is_plain(value) and value.numel():
            numbers = value.detach().contiguous()
            return self._put(value, "tensor", numbers.dtype, tuple(numbers.shape), numbers.view(-1).view(torch.uint8))
        if type(value) is np.ndarray and not value.dtype.hasobject:
            content = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
            return self._put(value, "array", value.dtype, value.shape, content)
        return None

    def _put(self, value: Any, kind: str, dtype: Any, shape: tuple[int, ...], content: Any) -> tuple[Any, ...]:
        # What stands at two places of a data set takes room once.
        if id(value) not in self._known:
            begin = -(-self.size // _BOUNDARY) * _BOUNDARY
            piece = np.asarray(content)
            self.size = begin + len(piece)
            self.pieces.append((begin, piece))
            self._known[id(value)] = value, (kind, begin, dtype, shape)
        return self._known[id(value)][1]


class _Unpacker(pickle.Unpickler):
    """Finds numbers in this memory."""

    def __init__(self, outline: io.BytesIO, memory: memoryview) -> None:
        super().__init__(outline)
        self._memory = np.frombuffer(memory, np.uint8)

    def persistent_load(self, pid: tuple[Any, ...]) -> Any:
        kind, *rest = pid
        if kind == "map":
            filename, dtype, offset, shape, order = rest
            return np.memmap(filename, dtype, "r", offset, shape, order)
        begin, dtype, shape = rest
        numbers = int(np.prod(shape, dtype=np.int64))
        content = self._memory[begin : begin + numbers * dtype.itemsize]
        if kind == "tensor":
            return torch.from_numpy(content).view(dtype).view(shape)
        return content.view(dtype).reshape(shape)
