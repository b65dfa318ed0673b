"""Gaussian blobs: the smallest classification that can be made as easy or hard as wanted."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from mpidl.data.dataset import Dataset
from mpidl.data.source import Source
from mpidl.seeding import stream


class Blobs(Source):
    """One Gaussian cloud a class: centers ~ N(0, I) in `dimension` dimensions, examples ~ N(center, spread²·I)."""

    classes: int = Field(4, ge=2, description="clouds")
    dimension: int = Field(8, ge=1, description="features of an example")
    examples: int = Field(1000, ge=1, description="training examples, classes in turn")
    tests: int = Field(500, ge=1, description="test examples, classes in turn")
    spread: float = Field(0.5, ge=0.0, description="standard deviation of a cloud")
    seed: int = Field(0, description="seed of the data, apart from the run's")

    def load(self) -> Dataset:
        rng = stream(self.seed, "blobs")
        centers = rng.standard_normal((self.classes, self.dimension))
        y, y_test = np.arange(self.examples) % self.classes, np.arange(self.tests) % self.classes
        x, x_test = (
            centers[labels] + self.spread * rng.standard_normal((len(labels), self.dimension)) for labels in (y, y_test)
        )
        return Dataset(x, y, x_test, y_test, classes=self.classes)
