"""What all exchanges over one graph have in common: who, over which graph, and how rows travel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field

from mpidl.comm.gossip.plan import Plans
from mpidl.comm.gossip.sizes import ON_CPU, ON_GPU, Sizes
from mpidl.config import Strict

if TYPE_CHECKING:
    import torch

    from mpidl.comm.meters import Meters
    from mpidl.comm.world import World
    from mpidl.graphs.base import Topology

Wire = Literal["float32", "bfloat16", "float16"]
Transport = Literal["auto", "messages", "shared"]


class TravelSettings(Strict):
    """How rows travel."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wire: Wire | None = Field(None, description="dtype of rows on the wire; null: as they are trained")
    transport: Transport = Field(
        "auto", description="rows of ranks on one node through shared memory where possible (auto), only so, or never"
    )
    overlap: bool = Field(False, description="move messages while the gradient is computed, on a thread of its own")

    def wire_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """The dtype on the wire of rows of this one: at most as wide, since wider numbers would carry nothing more."""
        import torch

        if self.wire is None:
            return dtype
        wire: torch.dtype = getattr(torch, self.wire)
        return wire if wire.itemsize < dtype.itemsize else dtype


class Neighbourhood:
    """The ranks and agents of a run as one graph connects them, with a communicator of its own."""

    def __init__(
        self,
        world: World,
        topology: Topology,
        settings: TravelSettings,
        parameters: int,
        dtype: torch.dtype,
        meters: Meters,
        sizes: Sizes | None = None,
    ) -> None:
        self.world, self.topology, self.settings = world, topology, settings
        self.parameters, self.dtype, self.meters = parameters, dtype, meters
        self.wire = settings.wire_dtype(dtype)
        self.sizes = sizes or (ON_CPU if world.device.type == "cpu" else ON_GPU)
        self.plans = Plans(topology, world.placement, world.rank)
        # So that no tag can meet those of others.
        self.comm: Any = world.comm.Dup()
