"""Residual networks for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mpidl.models.networks.norms import he_normal, normalised
from mpidl.models.normed import Norm


class PaddedShortcut(nn.Module):
    """Every second pixel, and channels of zeros on both sides [He et al. 2016, option A]."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.low = (after - before) // 2
        self.high = after - before - self.low

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.low, self.high))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut [He et al. 2016, figure 2]."""

    def __init__(self, before: int, after: int, stride: int, norm: Norm, groups: int, projection: bool) -> None:
        super().__init__()
        bias = norm == "none"
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=bias)
        self.norm1 = normalised(norm, after, groups)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=bias)
        self.norm2 = normalised(norm, after, groups, rectified=False)
        self.shortcut: nn.Module = nn.Identity()
        if before != after and projection:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=bias), normalised(norm, after, groups, rectified=False)
            )
        elif before != after:
            self.shortcut = PaddedShortcut(before, after)
        self.last = nn.Identity() if norm == "evonorm" else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm2(self.conv2(self.norm1(self.conv1(x))))
        return self.last(branch + self.shortcut(x))


class ResidualNetwork(nn.Module):
    """A 3×3 stem, stages that halve the image and double the channels, the mean over pixels, and a linear layer."""

    def __init__(
        self,
        channels: int,
        outputs: int,
        widths: tuple[int, ...],
        blocks: int,
        norm: Norm,
        groups: int,
        projection: bool,
    ) -> None:
        super().__init__()
        stem = nn.Conv2d(channels, widths[0], 3, padding=1, bias=norm == "none")
        self.stem = nn.Sequential(stem, normalised(norm, widths[0], groups))
        stages = []
        before = widths[0]
        for after in widths:
            for _ in range(blocks):
                # Only the first block of a later stage changes the width, and that is the one that halves the image.
                stages.append(ResidualBlock(before, after, 1 if before == after else 2, norm, groups, projection))
                before = after
        self.blocks = nn.Sequential(*stages)
        self.head = nn.Linear(before, outputs)
        for layer in self.modules():
            he_normal(layer)
        if norm == "none":
            # Without normalisation the variance would double with every block. 1/√blocks bounds that, but not how far
            # one step of all blocks moves the outputs: at rate 0.05 resnet20 stood still, and with 1/blocks it learns.
            with torch.no_grad():
                for block in stages:
                    block.conv2.weight /= len(stages)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))
