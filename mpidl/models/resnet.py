"""Residual networks for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mpidl.models import shapes
from mpidl.models.normed import NormedModel

if TYPE_CHECKING:
    from torch import nn


class ResNet20(NormedModel):
    """ResNet-20 for small images [He et al. 2016, section 4.2]: three stages of three blocks, 16, 32 and 64 channels.

    Shortcuts that change shape are 1×1 convolutions, as in the decentralized literature (272,474 parameters for
    CIFAR-10 with batch normalisation), or `padding`, the option A of the paper, without parameters (269,722).

    With `evonorm`, EvoNorm-S0 stands at every normalisation and no rectifier follows the addition, as in the code of
    Aketi et al.; without normalisation each residual branch starts scaled by 1/blocks.
    """

    shortcut: Literal["projection", "padding"] = Field(
        default="projection", description="shortcuts that change shape: 1×1 convolutions, or padding without parameters"
    )

    def build(self, example_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from mpidl.models.networks.residual import ResidualNetwork

        channels, _, _ = shapes.image(self.name, example_shape, smallest=4)
        return ResidualNetwork(
            channels, outputs, (16, 32, 64), 3, self.norm, self.groups, self.shortcut == "projection"
        )


class ResNet18(NormedModel):
    """ResNet-18 for small images: four stages of two blocks, 64 to 512 channels, a 3×3 stem and no pooling after it.

    11,173,962 parameters for CIFAR-10 with batch normalisation. EvoNorm-S0 and `none` are placed as in ResNet-20.
    """

    def build(self, example_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from mpidl.models.networks.residual import ResidualNetwork

        channels, _, _ = shapes.image(self.name, example_shape, smallest=8)
        return ResidualNetwork(channels, outputs, (64, 128, 256, 512), 2, self.norm, self.groups, projection=True)
