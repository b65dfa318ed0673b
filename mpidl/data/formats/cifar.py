"""CIFAR-10 and CIFAR-100, in the files of their python versions."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from mpidl.data.dataset import Dataset
from mpidl.data.formats.files import check_md5, find_set, read_limited
from mpidl.data.formats.pickles import read_pickle
from mpidl.data.source import Images
from mpidl.errors import DataError

# CIFAR-100's training file, the largest, has 155,249,918 bytes.
_MOST_BYTES = 2**28
_PIXELS = 3 * 32 * 32


class _Cifar(Images):
    """Pickled dictionaries of pixels and labels."""

    checksum: bool = Field(True, description="insist on the published files; false for others of the same format")

    folders: ClassVar[tuple[str, ...]]
    files: ClassVar[dict[str, str]]
    tests: ClassVar[int] = 1
    channel_mean: ClassVar[tuple[float, ...]]
    channel_std: ClassVar[tuple[float, ...]]
    class_names: ClassVar[tuple[str, ...] | None] = None

    def _label(self) -> tuple[bytes, int]:
        """Where the labels stand, and how many classes they have."""
        return b"labels", 10

    def load(self) -> Dataset:
        paths = find_set(self.root, self.folders, list(self.files), "https://www.cs.toronto.edu/~kriz/cifar.html")
        key, classes = self._label()
        parts = []
        for path in paths:
            content = read_limited(path, _MOST_BYTES)
            if self.checksum:
                check_md5(path, content, self.files[path.name])
            batch = read_pickle(content, path)
            pixels, labels = batch.get(b"data"), batch.get(key)
            if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
                raise DataError(f"{path} holds no images of 3×32×32 pixels under 'data'")
            if not isinstance(labels, list) or len(labels) != len(pixels) or {type(item) for item in labels} - {int}:
                raise DataError(f"{path} holds no {len(pixels)} labels under {key.decode()!r}")
            if labels and not 0 <= min(labels) <= max(labels) < classes:
                raise DataError(f"{path} holds labels outside 0 to {classes - 1}")
            parts.append((pixels.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)))
        train, test = parts[: -self.tests], parts[-self.tests :]
        x, y, x_test, y_test = (np.concatenate([part[at] for part in side]) for side in (train, test) for at in (0, 1))
        return Dataset(
            x,
            y,
            x_test,
            y_test,
            classes=classes,
            scale=1 / 255,
            mean=self.channel_mean if self.normalise else None,
            std=self.channel_std if self.normalise else None,
            class_names=self.class_names,
        )


class Cifar10(_Cifar):
    """50,000 + 10,000 colour images of 32×32 pixels, 10 classes [Krizhevsky 2009]."""

    folders = ("cifar-10-batches-py", "cifar10/cifar-10-batches-py", "cifar10", ".")
    files = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    }
    channel_mean = (0.4914, 0.4822, 0.4465)
    channel_std = (0.2470, 0.2435, 0.2616)
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Cifar100(_Cifar):
    """50,000 + 10,000 colour images of 32×32 pixels, 100 classes in 20 groups [Krizhevsky 2009]."""

    labels: Literal["fine", "coarse"] = Field("fine", description="100 classes, or their 20 groups")

    folders = ("cifar-100-python", "cifar100/cifar-100-python", "cifar100", ".")
    files = {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}
    channel_mean = (0.5071, 0.4865, 0.4409)
    channel_std = (0.2673, 0.2564, 0.2762)

    def _label(self) -> tuple[bytes, int]:
        return (b"fine_labels", 100) if self.labels == "fine" else (b"coarse_labels", 20)
