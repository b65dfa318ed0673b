"""Small files in the exact formats of the published data sets, written without the code that reads them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

IDX_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
CIFAR10_NAMES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


def images(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def idx_bytes(array: np.ndarray) -> bytes:
    """IDX: two zeros, type 8 (unsigned bytes), the number of dimensions, big-endian sizes, the bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx_set(folder: Path, train: int = 40, test: int = 20) -> dict[str, np.ndarray]:
    """MNIST's four files; every class is there."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        IDX_NAMES[0]: images(train, 28, 28),
        IDX_NAMES[1]: (np.arange(train) % 10).astype(np.uint8),
        IDX_NAMES[2]: images(test, 28, 28, seed=1),
        IDX_NAMES[3]: (np.arange(test) % 10).astype(np.uint8),
    }
    for name, array in arrays.items():
        (folder / name).write_bytes(gzip.compress(idx_bytes(array), mtime=0))
    return arrays


def _string(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<i", len(text)) + text


def _int(value: int) -> bytes:
    return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)


def _list(items: list[bytes]) -> bytes:
    return b"]" + b"".join(b"(" + b"".join(items[start : start + 1000]) + b"e" for start in range(0, len(items), 1000))


def _array(array: np.ndarray) -> bytes:
    """An array of bytes as numpy wrote it under python 2."""
    dtype = b"cnumpy\ndtype\n" + _string(b"u1") + _int(0) + _int(1) + b"\x87R"
    dtype += b"(" + _int(3) + _string(b"|") + b"NNN" + _int(-1) + _int(-1) + _int(0) + b"tb"
    shape = _int(array.shape[0]) + _int(array.shape[1]) + b"\x86"
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + _int(0) + b"\x85" + _string(b"b") + b"\x87R"
    return made + b"(" + _int(1) + shape + dtype + b"\x89" + _string(array.tobytes()) + b"tb"


def cifar_bytes(pixels: np.ndarray, labels: dict[str, list[int]]) -> bytes:
    """One file of CIFAR's python version: protocol 2 as python 2 wrote it, in the order of the published files."""
    entries = [(b"batch_label", _string(b"training batch 1 of 5"))]
    entries += [(key.encode(), _list([_int(label) for label in numbers])) for key, numbers in labels.items()]
    entries.append((b"data", _array(pixels.reshape(len(pixels), -1))))
    entries.append((b"filenames", _list([_string(f"image_s_{at:06d}.png".encode()) for at in range(len(pixels))])))
    memo = iter(range(1, 100))
    body = b"".join(_string(key) + b"q" + bytes([next(memo)]) + value for key, value in entries)
    return b"\x80\x02}q\x00(" + body + b"u."


def write_cifar10(folder: Path, each: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """The six files of CIFAR-10; returns all training pixels and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, labels = images(6 * each, 3, 32, 32), np.arange(6 * each) % 10
    for at, name in enumerate(CIFAR10_NAMES):
        part = slice(at * each, (at + 1) * each)
        (folder / name).write_bytes(cifar_bytes(pixels[part], {"labels": labels[part].tolist()}))
    return pixels[: 5 * each], labels[: 5 * each]


def write_cifar100(folder: Path, train: int = 100, test: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """The two files of CIFAR-100, with fine and coarse labels."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, fine = images(train + test, 3, 32, 32), np.arange(train + test) % 100
    for name, part in (("train", slice(0, train)), ("test", slice(train, None))):
        labels = {"fine_labels": fine[part].tolist(), "coarse_labels": (fine[part] // 5).tolist()}
        (folder / name).write_bytes(cifar_bytes(pixels[part], labels))
    return pixels[:train], fine[:train]


def libsvm_text(rows: np.ndarray, labels: np.ndarray) -> str:
    """LibSVM text; zeros are left out, as the format does."""
    lines = []
    for row, label in zip(rows, labels, strict=True):
        pairs = " ".join(f"{at + 1}:{value!r}" for at, value in enumerate(row.tolist()) if value)
        lines.append(f"{label:+d} {pairs} \n")
    return "".join(lines)


PLAY = """First Citizen:
Before we proceed any further, hear me speak.

All:
Speak, speak.

First Citizen:
You are all resolved rather to die than to famish?

All:
Resolved. resolved: that is what we said.
It stands.

MENENIUS:
What work's, my countrymen, in hand? where go you
With bats and clubs? The matter? speak, I pray you.
"""
