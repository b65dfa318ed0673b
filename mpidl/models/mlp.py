"""A multi-layer perceptron of any widths."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveInt

from mpidl.models import shapes
from mpidl.models.activations import Activation, activation
from mpidl.models.base import Model

if TYPE_CHECKING:
    from torch import nn


class Mlp(Model):
    """A multi-layer perceptron on the flattened example.

    The default widths are the two hidden layers of 200 units of the federated MNIST model of McMahan et al. 2017.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")

    hidden: tuple[PositiveInt, ...] = Field(default=(200, 200), description="the widths of the hidden layers, in order")
    activation: Activation = Field(default="relu", description="the nonlinearity after each hidden layer")

    def build(self, example_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        widths = (shapes.features(self.name, example_shape), *self.hidden)
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), activation(self.activation)]
        return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
