"""LeNet-5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from mpidl.models import shapes
from mpidl.models.normed import Norm, NormedModel

if TYPE_CHECKING:
    from torch import nn


class LeNet5(NormedModel):
    """LeNet-5 [LeCun et al. 1998] with rectified units and max-pooling, for images of at least 12 by 12 pixels.

    As in the paper, images below 32 by 32 get a border of 2 pixels; without normalisation there are 61,706 parameters
    for Fashion-MNIST, whose images are 28 by 28, as there are for grey images of 32 by 32.
    """

    norm: Norm = Field(default="none", description="normalisation: batch, group, evonorm (EvoNorm-S0) or none")

    def build(self, example_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        from mpidl.models.networks.norms import normalised

        channels, height, width = shapes.image(self.name, example_shape, smallest=12)
        border = 2 if min(height, width) < 32 else 0
        height, width = (((side + 2 * border - 4) // 2 - 4) // 2 for side in (height, width))
        bias = self.norm == "none"
        return nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=border, bias=bias),
            normalised(self.norm, 6, self.groups),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5, bias=bias),
            normalised(self.norm, 16, self.groups),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * height * width, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, outputs),
        )
