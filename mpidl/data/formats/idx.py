"""MNIST and Fashion-MNIST: images and labels in IDX files, packed with gzip or not."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from mpidl.data.dataset import Dataset
from mpidl.data.formats.files import Readable, find_set, read_rest
from mpidl.data.source import Images
from mpidl.errors import DataError
from mpidl.files import DEFLATE_RATIO

_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The bytes in an IDX file of so many dimensions; no more memory is taken than the file really fills."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            return _read(file, path, dimensions)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged ({error}); fetch it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _read(file: Readable, path: Path, dimensions: int) -> np.ndarray:
    header = file.read(4 + 4 * dimensions)
    if len(header) < 4 + 4 * dimensions or header[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"{path} is no IDX file of bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    size = math.prod(shape)
    stored = path.stat().st_size
    if size > stored * (DEFLATE_RATIO if path.suffix == ".gz" else 1):
        raise DataError(f"{path} claims {size} bytes of content, which its {stored} bytes cannot hold; fetch it again")
    content = read_rest(file, size)
    if content is None:
        raise DataError(f"{path} claims {size} bytes of content and does not hold as many; fetch it again")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


class _Idx(Images):
    """Four IDX files."""

    folders: ClassVar[tuple[str, ...]]
    origin: ClassVar[str]
    channel_mean: ClassVar[float]
    channel_std: ClassVar[float]
    class_names: ClassVar[tuple[str, ...] | None] = None

    def load(self) -> Dataset:
        paths = find_set(self.root, self.folders, _NAMES, self.origin)
        x, y, x_test, y_test = (read_idx(path, 3 if "images" in path.name else 1) for path in paths)
        for path, images in ((paths[0], x), (paths[2], x_test)):
            if images.shape[1:] != (28, 28):
                raise DataError(f"{path} holds images of {images.shape[1]}×{images.shape[2]} pixels, not 28×28")
        mean, std = ((self.channel_mean,), (self.channel_std,)) if self.normalise else (None, None)
        try:
            return Dataset(
                x[:, None],
                y,
                x_test[:, None],
                y_test,
                classes=10,
                scale=1 / 255,
                mean=mean,
                std=std,
                class_names=self.class_names,
            )
        except DataError as error:
            raise DataError(f"{paths[0].parent}: {error}") from error


class FashionMnist(_Idx):
    """Zalando's articles: 60,000 + 10,000 grey images of 28×28 pixels, 10 classes [Xiao et al. 2017, MIT licence]."""

    folders = ("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", ".")
    origin = "https://github.com/zalandoresearch/fashion-mnist"
    channel_mean = 0.2860
    channel_std = 0.3530
    class_names = (
        *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    )


class Mnist(_Idx):
    """Handwritten digits: 60,000 + 10,000 grey images of 28×28 pixels, 10 classes [LeCun et al. 1998]."""

    folders = ("mnist", "MNIST/raw", ".")
    origin = "https://ossci-datasets.s3.amazonaws.com/mnist/"
    channel_mean = 0.1307
    channel_std = 0.3081
