"""Multinomial logistic regression; with a regression task, linear regression."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mpidl.models import shapes
from mpidl.models.base import Model

if TYPE_CHECKING:
    from torch import nn


class Logistic(Model):
    """Logistic regression: one linear layer on the flattened example.

    Two classes have two outputs, of which only the difference matters. A regression task makes it linear regression.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")

    bias: bool = Field(default=True, description="whether each output has a constant")

    def build(self, example_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.Linear(shapes.features(self.name, example_shape), outputs, self.bias))
