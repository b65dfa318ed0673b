"""Data sets as a user would write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mpidl.data import Dataset
from mpidl.data.source import Source
from mpidl.data.splits.base import Split


def points(count: int = 40, classes: int = 2) -> Dataset:
    """Points on a line."""
    x = torch.linspace(0, 1, count)[:, None]
    y = torch.arange(count) % classes
    return Dataset(x, y, x[:8], y[:8], owner=np.arange(count) // 10)


def named(root: str, batch: int, **others: Any) -> Dataset:
    """Takes common keys and any others."""
    assert root == "somewhere" and batch == 3
    return points(count=others["many"])


def pictures() -> Dataset:
    """Images of the plainest kind."""
    x = np.random.default_rng(0).random((20, 1, 8, 8), np.float32)
    return Dataset(x, np.arange(20) % 2, x[:4], np.arange(4) % 2)


def open_pictures(**others: Any) -> Dataset:
    """Takes any keys, and none of mpidl's."""
    assert not others
    return pictures()


def cropped(crop: int = 5) -> Dataset:
    """Cuts its images itself."""
    whole = pictures()
    return Dataset(whole.x[..., :crop, :crop], whole.y, whole.x_test[..., :crop, :crop], whole.y_test)


class Unfinished(Source):
    """A data set that cannot be loaded."""


class UnfinishedSplit(Split):
    """A split that deals nothing."""


def failing() -> Dataset:
    raise KeyError("no such thing")


def wrong() -> list[int]:
    return [1, 2]


def mismatched() -> Dataset:
    return Dataset(np.zeros((4, 2)), np.zeros(3, int), np.zeros((4, 2)), np.zeros(4, int))


number = 3
