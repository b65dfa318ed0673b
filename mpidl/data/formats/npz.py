"""Arrays in an .npz file."""

from __future__ import annotations

import ast
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from mpidl.data.checks import is_numeric
from mpidl.data.dataset import Dataset, Task
from mpidl.data.formats.files import Readable, find_file, read_rest
from mpidl.data.source import Images
from mpidl.errors import DataError
from mpidl.files import DEFLATE_RATIO

_NAMES = ("x", "y", "x_test", "y_test", "owner", "mean", "std")


class Npz(Images):
    """Arrays `x`, `y`, `x_test`, `y_test` in a numpy .npz file, perhaps `owner`, and `mean` and `std` of the channels.

    Bytes are taken for pixels, 0 to 255, and brought to [0, 1]. Object arrays, which are pickles, are refused.
    """

    file: str = Field(description="the .npz file")
    task: Task = Field("classification", description="what y is")
    classes: int | None = Field(None, ge=1, description="classes or vocabulary; null: the highest number and 1")

    def load(self) -> Dataset:
        path = find_file(self.root, self.file, "file")
        arrays = read_npz(path, _NAMES)
        return named_dataset(arrays, path, self.task, self.classes, self.normalise)


def named_dataset(arrays: Mapping[str, Any], path: Path, task: Task, classes: int | None, normalise: bool) -> Dataset:
    """The data set that arrays of these names make."""
    missing = [name for name in _NAMES[:4] if name not in arrays]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}; it must hold x, y, x_test and y_test")
    pixels = arrays["x"].dtype == np.uint8 and task != "language"
    try:
        return Dataset(
            arrays["x"],
            arrays["y"],
            arrays["x_test"],
            arrays["y_test"],
            owner=arrays.get("owner"),
            task=task,
            classes=classes,
            scale=1 / 255 if pixels else 1.0,
            mean=arrays.get("mean") if normalise else None,
            std=arrays.get("std") if normalise else None,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_npz(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Those of the named arrays that the file holds; no more memory is taken than the file really fills."""
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            for name in names:
                info = members.get(f"{name}.npy")
                if info is not None:
                    _check_packing(info, path)
                    with archive.open(info) as file:
                        arrays[name] = _read_npy(file, info, f"{path}, array {name!r}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error) as error:
        raise DataError(f"{path} is no .npz file, or damaged ({error or 'it ends too early'})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return arrays


def _check_packing(info: zipfile.ZipInfo, path: Path) -> None:
    # Other ways hold more than DEFLATE_RATIO in a byte, reserve memory as the file says, and fail in ways of their own.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(
            f"{path}: {info.filename} is packed by zip's method {info.compress_type}, which numpy does not use; write "
            "it with numpy.savez_compressed"
        )


def _read_npy(file: Readable, info: zipfile.ZipInfo, what: str) -> np.ndarray:
    start = file.read(10)
    if len(start) < 10 or start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
        raise DataError(f"{what}: no .npy header")
    extra = b"" if start[6] == 1 else file.read(2)
    length = int.from_bytes(start[8:10] + extra, "little")
    if length > 10_000:
        raise DataError(f"{what}: its header claims {length} bytes")
    try:
        header = ast.literal_eval(file.read(length).decode("latin1").strip())
        shape, dtype, fortran = header["shape"], np.dtype(header["descr"]), header["fortran_order"]
        sound = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
    except (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError) as error:
        raise DataError(f"{what}: its header makes no sense") from error
    if not sound or not is_numeric(dtype) or dtype.shape:
        raise DataError(f"{what}: holds {dtype} of shape {shape}, not an array of numbers")
    size = math.prod(shape) * dtype.itemsize
    if size > info.compress_size * DEFLATE_RATIO:
        raise DataError(f"{what}: claims {size} bytes, which its {info.compress_size} bytes cannot hold")
    content = read_rest(file, size)
    if content is None:
        raise DataError(f"{what}: claims {size} bytes and does not hold as many")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
