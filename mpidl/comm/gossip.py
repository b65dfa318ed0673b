"""Gossip between neighbours: its settings, and the exchanges of the quantities that an algorithm mixes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field

from mpidl.comm.schemes import SCHEMES
from mpidl.comm.schemes.base import Exchange, Scheme
from mpidl.comm.schemes.exact import Exact
from mpidl.comm.sizes import ON_CPU, ON_GPU, Sizes
from mpidl.config import Strict

if TYPE_CHECKING:
    import torch

    from mpidl.comm.meters import Meters
    from mpidl.comm.world import World
    from mpidl.graphs.base import Topology

log = logging.getLogger("mpidl.comm")

Wire = Literal["float32", "bfloat16", "float16"]
Transport = Literal["auto", "messages", "shared"]


class GossipSettings(Strict):
    """The section `gossip:` of a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheme: SCHEMES.field() = Field(Exact(), description="what mixing does with the rows")  # type: ignore[valid-type]
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


class Gossip:
    """Exchanges over one graph, each of one named quantity; every rank must create them in the same order."""

    def __init__(
        self,
        world: World,
        topology: Topology,
        settings: GossipSettings,
        parameters: int,
        dtype: torch.dtype,
        meters: Meters,
        sizes: Sizes | None = None,
    ) -> None:
        from mpidl.comm.plan import Plans

        self.world, self.topology, self.settings = world, topology, settings
        self.parameters, self.dtype, self.meters = parameters, dtype, meters
        self.sizes = sizes or (ON_CPU if world.device.type == "cpu" else ON_GPU)
        self.plans = Plans(topology, world.placement, world.rank)
        # A communicator of its own, so that no tag can meet those of others.
        self.comm: Any = world.comm.Dup()
        self._exchanges: dict[str, Exchange] = {}

    def exchange(self, name: str) -> Exchange:
        """The exchange of this quantity, made when it is first asked for (by all ranks together)."""
        if name not in self._exchanges:
            scheme: Scheme = self.settings.scheme
            self._exchanges[name] = scheme.exchange(self, name, len(self._exchanges))
            log.info("%s of rank %d: %s", name, self.world.rank, self._exchanges[name].transport)
        return self._exchanges[name]

    def close(self) -> None:
        """Releases requests and memory; all ranks together."""
        for exchange in self._exchanges.values():
            exchange.close()
        self._exchanges.clear()
        self.comm.Free()
