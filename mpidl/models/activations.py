"""The nonlinearities that a configuration may name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

Activation = Literal["relu", "leaky-relu", "elu", "gelu", "silu", "softplus", "tanh", "sigmoid"]


def activation(name: Activation) -> nn.Module:
    """The module of this name, never in place, so that second derivatives and vmap see every value."""
    from torch import nn

    kinds = {
        "relu": nn.ReLU,
        "leaky-relu": nn.LeakyReLU,
        "elu": nn.ELU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "softplus": nn.Softplus,
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
    }
    return kinds[name]()
