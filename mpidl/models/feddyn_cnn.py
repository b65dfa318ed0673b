"""The convolutional network of the FedAvg and FedDyn papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mpidl.models import shapes
from mpidl.models.base import Model

if TYPE_CHECKING:
    from torch import nn


class FedDynCnn(Model):
    """The CNN of FedDyn [Acar et al. 2021], for images of at least 16 by 16 pixels.

    conv5×5(64)-relu-pool2, conv5×5(64)-relu-pool2, then 384 and 192 hidden units: 797,962 parameters for CIFAR-10.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")

    def build(self, example_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        channels, height, width = shapes.image(self.name, example_shape, smallest=16)
        height, width = (((side - 4) // 2 - 4) // 2 for side in (height, width))
        return nn.Sequential(
            nn.Conv2d(channels, 64, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * height * width, 384),
            nn.ReLU(),
            nn.Linear(384, 192),
            nn.ReLU(),
            nn.Linear(192, outputs),
        )
