"""VGG-11 for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from mpidl.models import shapes
from mpidl.models.normed import Norm, NormedModel

if TYPE_CHECKING:
    from torch import nn

_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


class Vgg11(NormedModel):
    """VGG-11 [Simonyan and Zisserman 2015, configuration A] with hidden layers of 512, for images of at least 32 by 32.

    This is the network of the RelaySGD tables: no normalisation, dropout of ½ before both hidden layers, 9,750,922
    parameters for CIFAR-10.
    """

    norm: Norm = Field(default="none", description="normalisation: batch, group, evonorm (EvoNorm-S0) or none")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="dropout before each hidden layer of the classifier")

    def build(self, example_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        from mpidl.models.networks.norms import he_normal, normalised

        before, height, width = shapes.image(self.name, example_shape, smallest=32)
        layers: list[nn.Module] = []
        for stage in _STAGES:
            for after in stage:
                convolution = nn.Conv2d(before, after, 3, padding=1, bias=self.norm == "none")
                layers += [convolution, normalised(self.norm, after, self.groups)]
                before = after
            layers.append(nn.MaxPool2d(2))
        for layer in layers:
            he_normal(layer)
        sizes = (512 * (height // 32) * (width // 32), 512)
        hidden = [layer for size in sizes for layer in (nn.Dropout(self.dropout), nn.Linear(size, 512), nn.ReLU())]
        return nn.Sequential(*layers, nn.Flatten(), *hidden, nn.Linear(512, outputs))
