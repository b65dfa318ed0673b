"""Gossip between neighbours: its settings, and the exchanges of the quantities that an algorithm mixes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from mpidl.comm.gossip.neighbourhood import Neighbourhood, TravelSettings
from mpidl.comm.gossip.schemes import SCHEMES
from mpidl.comm.gossip.schemes.base import Exchange, Scheme
from mpidl.comm.gossip.schemes.exact import Exact

if TYPE_CHECKING:
    import torch

    from mpidl.comm.gossip.sizes import Sizes
    from mpidl.comm.meters import Meters
    from mpidl.comm.world import World
    from mpidl.graphs.base import Topology


class GossipSettings(TravelSettings):
    """The section `gossip:` of a configuration."""

    scheme: Annotated[Scheme, SCHEMES] = Field(Exact(), description="what mixing does with the rows")


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
        self.around = Neighbourhood(world, topology, settings, parameters, dtype, meters, sizes)
        self._scheme = settings.scheme
        self._exchanges: dict[str, Exchange] = {}

    @property
    def gamma(self) -> float:
        """The consensus step γ of the scheme."""
        return self._scheme.gamma

    def exchange(self, name: str, blocks: int = 2) -> Exchange:
        """The exchange of this quantity, made when it is first asked for (by all ranks together)."""
        if name not in self._exchanges:
            self._exchanges[name] = self._scheme.exchange(self.around, name, len(self._exchanges), blocks)
        exchange = self._exchanges[name]
        if len(exchange.blocks) != blocks:
            raise ValueError(f"exchange {name!r} has {len(exchange.blocks)} blocks already, not {blocks}")
        return exchange

    @property
    def block_bytes(self) -> int:
        """Bytes of all blocks but one of each exchange: that one is state, declared by the algorithm."""
        from mpidl.rows import room

        around = self.around
        block = room(len(around.world.mine), around.parameters, around.dtype)
        return sum((len(exchange.blocks) - 1) * block for exchange in self._exchanges.values())

    def transports(self) -> dict[str, str]:
        """By quantity, how rows reach neighbours, in words; a collective call."""
        told = self.around.world.comm.allgather({name: one.transport for name, one in self._exchanges.items()})
        return {name: ", ".join(dict.fromkeys(rank[name] for rank in told)) for name in told[0]}

    def notices(self) -> list[str]:
        """What a person should know about that; a collective call."""
        told = self.around.world.comm.allgather([one.notice for one in self._exchanges.values() if one.notice])
        return list(dict.fromkeys(notice for rank in told for notice in rank))

    def close(self) -> None:
        """Releases requests and memory; all ranks together."""
        for exchange in self._exchanges.values():
            exchange.close()
        self._exchanges.clear()
        self.around.comm.Free()
