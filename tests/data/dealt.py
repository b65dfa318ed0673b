"""A small data set of images, dealt to four agents, and batches of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mpidl.data import Dataset
from mpidl.data.batches import Batches, Storage
from mpidl.data.shares import Shares
from mpidl.data.transform import Moves

SEED = 5


def images(count: int = 103) -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, 3, 9, 7), dtype=np.uint8)
    y = np.arange(count) % 5
    return Dataset(x, y, x[:37], y[:37], scale=1 / 255, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def shares(count: int = 103) -> Shares:
    order = np.random.default_rng(1).permutation(count)
    return Shares([np.sort(part) for part in np.split(order[:90], [40, 41, 73])], validation=np.sort(order[90:]))


def batches_of(
    dataset: Dataset, shares: Sequence[np.ndarray], batch: int | str, crop: int = 0, flip: bool = False, **storage: Any
) -> Batches:
    return Batches(dataset, shares, batch, SEED, Storage(**storage), Moves(crop, flip))
