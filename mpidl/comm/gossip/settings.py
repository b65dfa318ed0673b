"""The section `gossip:` of a configuration: what mixing does with rows, and how they travel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from mpidl.comm.gossip.schemes import SCHEMES
from mpidl.comm.gossip.schemes.base import Scheme
from mpidl.comm.gossip.schemes.exact import Exact
from mpidl.compressors import COMPRESSORS
from mpidl.compressors.base import Compressor
from mpidl.config import Strict
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from mpidl.layout import Layout

CROSS_GRADIENTS = "cross-gradients"
"""The quantity, different for every neighbour, that `cross_gradients` packs."""

Wire = Literal["float32", "bfloat16", "float16"]
Transport = Literal["auto", "messages", "shared"]


class GossipSettings(Strict):
    """How neighbours exchange."""

    scheme: Annotated[Scheme, SCHEMES] = Field(Exact(), description="what mixing does with the rows")
    compressor: Annotated[Compressor, COMPRESSORS] | None = Field(
        None, description="what packs rows on their way, for schemes that compress"
    )
    cross_gradients: Annotated[Compressor, COMPRESSORS] | None = Field(
        None, description="what packs the cross-gradients of ngc and n-saddle, with error feedback"
    )
    wire: Wire | None = Field(None, description="dtype of rows on the wire; null: as they are trained")
    transport: Transport = Field(
        "auto", description="rows of ranks on one node through shared memory where possible (auto), only so, or never"
    )
    overlap: bool = Field(False, description="move messages while the gradient is computed, on a thread of its own")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        scheme, compressor = self.scheme, self.compressor
        if scheme.compresses and compressor is None:
            raise ConfigError(f"is missing; {scheme.name!r} needs one, such as qsgd or topk", "compressor")
        if compressor is not None and not scheme.compresses:
            raise ConfigError(
                f"{compressor.name!r} packs nothing under the scheme {scheme.name!r}; choose one that compresses, such "
                "as choco",
                "compressor",
            )
        return self

    def warnings(self, layout: Layout) -> tuple[str, ...]:
        """What a person should know of what packs rows of this layout."""
        feeding = {f"the scheme {self.scheme.name!r}": self.compressor if self.scheme.feeds_back else None}
        feeding["'cross_gradients'"] = self.cross_gradients
        return tuple(
            f"{whose} sends later what packing loses, but the squared error of {compressor.name!r} may be "
            f"{variance:.3g} times the squared norm, so that errors may grow without end; choose a contraction (qsgd: "
            "contractive, or more bits)"
            for whose, compressor in feeding.items()
            if compressor is not None and (variance := compressor.variance(layout)) is not None and variance >= 1
        )

    def require_reach(self, device: torch.device) -> None:
        """Refuses to share what other ranks do not reach."""
        if self.transport == "shared" and device.type != "cpu":
            raise ConfigError(f"'shared' is for rows in main memory, not on {device}", "gossip.transport")

    def wire_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """The dtype on the wire of rows of this one: at most as wide, since wider numbers would carry nothing more."""
        import torch

        if self.wire is None:
            return dtype
        wire: torch.dtype = getattr(torch, self.wire)
        return wire if wire.itemsize < dtype.itemsize else dtype
