"""The settings that convolutional models share: which normalisation, and over how many groups."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from mpidl.models.base import Model

Norm = Literal["batch", "group", "evonorm", "none"]


class NormedModel(Model):
    """A convolutional model with a choice of normalisation after each convolution.

    `batch` keeps running statistics, which differ between agents whose data differ (see `mpidl.models.buffers`);
    `group` and `evonorm` look at one example at a time, and are what heterogeneous data ask for.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")

    norm: Norm = Field(default="batch", description="normalisation: batch, group, evonorm (EvoNorm-S0) or none")
    groups: PositiveInt = Field(
        default=8,
        description="channel groups of group and evonorm; where they do not divide the channels, their greatest common "
        "divisor is taken",
    )
