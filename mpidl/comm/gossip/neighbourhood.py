"""What all exchanges over one graph have in common: who, over which graph, and how rows travel."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from mpidl.comm import survivors
from mpidl.comm.gossip.plan import Plans, make_edge_plan
from mpidl.comm.gossip.sizes import ON_CPU, ON_GPU, Sizes

if TYPE_CHECKING:
    from mpidl.comm.gossip.settings import GossipSettings
    from mpidl.comm.meters import Meters
    from mpidl.comm.world import World
    from mpidl.graphs.base import Topology


class Neighbourhood:
    """The ranks and agents of a run as one graph connects them, with a communicator of its own."""

    def __init__(
        self,
        world: World,
        topology: Topology,
        settings: GossipSettings,
        meters: Meters,
        sizes: Sizes | None = None,
    ) -> None:
        self.world, self.topology, self.settings, self.meters = world, topology, settings, meters
        self.sizes = sizes or (ON_CPU if world.device.type == "cpu" else ON_GPU)
        self.plans = Plans(topology, world.placement, world.rank)
        # So that no tag can meet those of others.
        self.comm: Any = survivors.duplicate(world.comm)
        self.made = 0
        """Exchanges made so far, the same on every rank."""

    @cached_property
    def edge_plans(self) -> Plans:
        """Plans of what differs by neighbour."""
        return Plans(self.topology, self.world.placement, self.world.rank, make_edge_plan)

    def number(self) -> int:
        """A number for one more exchange."""
        self.made += 1
        return self.made - 1
