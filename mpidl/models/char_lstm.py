"""The recurrent model of characters of the FedAvg paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveInt

from mpidl.models import shapes
from mpidl.models.base import Model

if TYPE_CHECKING:
    from torch import nn


class CharLstm(Model):
    """A stacked LSTM that predicts the next character at every position [McMahan et al. 2017, the Shakespeare model].

    Characters are embedded in 8 dimensions and pass through two layers of 256 units. The names, shapes and initial
    distribution of the parameters are those of torch.nn.LSTM; the recurrence is written out, because the one in cuDNN
    wants its weights in a block of its own and cannot be differentiated twice.
    """

    tasks: ClassVar[tuple[str, ...]] = ("language",)

    embedding: PositiveInt = Field(default=8, description="dimensions of a character's embedding")
    hidden: PositiveInt = Field(default=256, description="units of each layer")
    layers: PositiveInt = Field(default=2, description="stacked layers")

    def build(self, example_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from mpidl.models.networks.recurrent import CharacterNetwork

        shapes.text(self.name, example_shape)
        return CharacterNetwork(outputs, self.embedding, self.hidden, self.layers)
