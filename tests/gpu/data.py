"""Random examples of any shape: what is learned does not matter on a device, only that the CPU learns the same."""

from __future__ import annotations

import numpy as np

from mpidl.data import Dataset
from mpidl.seeding import stream


def shaped(shape: list[int], agents: int, examples: int = 24, outputs: int = 5) -> Dataset:
    """Classification of examples of this shape, dealt out in turn; those of shape [7] are texts."""
    rng = stream(9, "test shaped")
    text = shape == [7]
    x = rng.integers(outputs, size=(examples, 7)) if text else rng.normal(size=(examples, *shape))
    y = rng.integers(outputs, size=x.shape if text else examples)
    task = "language" if text else "classification"
    return Dataset(x, y, x[:8], y[:8], owner=np.arange(examples) % agents, task=task, classes=outputs)
