"""A normalisation and the activation after it, as one module; and the initial weights of convolutions beside them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mpidl.models.normed import Norm


class EvoNormS0(nn.Module):
    """EvoNorm-S0, normalisation and activation in one [Liu et al. 2020, table 2].

    y = x·σ(v x) / √(Var(x) + ε) · γ + β, with the variance (divided by the count, about the mean) over each example's
    groups of channels, and v, γ, β one number per channel.
    """

    def __init__(self, channels: int, groups: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.shape = (groups, channels // groups, 1, 1)
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        # Half-precision inputs are normalised in the precision of the parameters: ε is lost beside a float16 variance.
        z = x.to(self.weight.dtype).reshape(x.shape[0], *self.shape[:2], *x.shape[2:])
        # Two passes, about the mean: E[x²] − E[x]² cancels where the mean is large.
        variance = z.var(dim=(2, 3, 4), correction=0, keepdim=True)
        gated = z * torch.sigmoid(self.slope.reshape(self.shape) * z)
        scaled = gated * torch.rsqrt(variance + self.epsilon)
        y = scaled * self.weight.reshape(self.shape) + self.bias.reshape(self.shape)
        return y.reshape(x.shape).to(x.dtype)


def normalised(norm: Norm, channels: int, groups: int, rectified: bool = True) -> nn.Module:
    """The normalisation, with a rectifier after it where `rectified`; EvoNorm-S0 always carries its own activation."""
    groups = math.gcd(groups, channels)
    if norm == "evonorm":
        return EvoNormS0(channels, groups)
    if norm == "none":
        return nn.ReLU() if rectified else nn.Identity()
    layer = nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(groups, channels)
    return nn.Sequential(layer, nn.ReLU()) if rectified else layer


def he_normal(layer: nn.Module) -> None:
    """A convolution's weights from N(0, 2/(area · output channels)) [He et al. 2015] and its constants to 0."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
