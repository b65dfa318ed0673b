"""A small GPT."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveInt, model_validator

from mpidl.errors import ConfigError
from mpidl.models import shapes
from mpidl.models.base import Model

if TYPE_CHECKING:
    from torch import nn


class Gpt(Model):
    """A decoder-only transformer with layer normalisation before each part [Radford et al. 2019].

    Learned positions, GELU layers of 4 widths, weights from N(0, 0.02²) with the projections into the residual stream
    scaled by 1/√(2 layers). The defaults suit characters on a laptop.
    """

    tasks: ClassVar[tuple[str, ...]] = ("language",)

    layers: PositiveInt = Field(default=4, description="transformer blocks")
    heads: PositiveInt = Field(default=4, description="attention heads of each block")
    width: PositiveInt = Field(default=128, description="width of the residual stream; a multiple of the heads")
    context: PositiveInt | None = Field(default=None, description="longest text; null takes the length of the examples")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="dropout of embeddings, attention and residual branches"
    )
    tied: bool = Field(default=True, description="whether the output layer shares the embedding's weights")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Gpt:
        if self.width % self.heads:
            raise ConfigError(f"{self.width} is not a multiple of the {self.heads} heads; change one of them", "width")
        return self

    def build(self, example_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from mpidl.models.networks.transformer import Transformer

        length = shapes.text(self.name, example_shape)
        context = self.context or length
        if length > context:
            raise ConfigError(
                f"{context} is shorter than the texts of {length} tokens; raise it, or shorten the texts",
                "model.context",
            )
        return Transformer(outputs, context, self.layers, self.heads, self.width, self.dropout, self.tied)
