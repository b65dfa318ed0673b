"""The published files have the shapes, class counts and means that are known of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mpidl.data import DATA, Dataset


def load(name: str, root: Path, **keys: object) -> Dataset:
    return DATA.parse({"name": name, "root": str(root), **keys}).load()


def shared(folder: str) -> Path:
    root = Path(os.environ.get("MPIDL_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
    if not (root / folder).is_dir():
        pytest.skip(f"needs {folder} in $MPIDL_DATA")
    return root


def moments(pixels: np.ndarray) -> tuple[float, float]:
    """Mean and deviation on a scale of 0 to 1, to four digits."""
    values, weights = np.arange(256) / 255, np.bincount(pixels.ravel(), minlength=256) / pixels.size
    mean = weights @ values
    return round(mean, 4), round(float(np.sqrt(weights @ (values - mean) ** 2)), 4)


def test_fashion_mnist_as_published() -> None:
    dataset = load("fashion-mnist", shared("fashion_mnist"))
    assert (dataset.x.shape, dataset.x_test.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert set(np.bincount(dataset.y)) == {6000} and set(np.bincount(dataset.y_test)) == {1000}
    assert moments(dataset.x) == (dataset.mean[0], dataset.std[0])


@pytest.mark.full
def test_cifar10_as_published(tmp_path: Path) -> None:
    root = shared("cifar10")
    if not (root / "cifar-10-batches-py").is_dir():
        subprocess.run([sys.executable, str(root / "unpack_cifar10.py"), str(tmp_path)], check=True)
        root = tmp_path
    dataset = load("cifar10", root)
    assert (dataset.x.shape, dataset.x_test.shape) == ((50000, 3, 32, 32), (10000, 3, 32, 32))
    assert set(np.bincount(dataset.y)) == {5000} and set(np.bincount(dataset.y_test)) == {1000}
    assert [moments(dataset.x[:, channel]) for channel in range(3)] == list(zip(dataset.mean, dataset.std, strict=True))


def test_a9a_as_published() -> None:
    dataset = load("libsvm", shared("libsvm"))
    assert (dataset.x.shape, dataset.x_test.shape, dataset.outputs) == ((32561, 123), (16281, 123), 2)
    # 24.1 % of the training part earn above the threshold [UCI Adult].
    assert np.bincount(dataset.y).tolist() == [24720, 7841] and set(np.unique(dataset.x)) == {0.0, 1.0}


def test_tiny_shakespeare_as_published() -> None:
    root = shared("tinyshakespeare")
    dataset = load("text", root, context=64)
    text = (root / "tinyshakespeare" / "input.txt").read_text()
    assert (len(text), dataset.outputs) == (1_115_394, 65)
    assert len(np.unique(dataset.owner)) > 200 and 0.9 < (len(dataset.x) + len(dataset.x_test)) * 64 / len(text) <= 1
