"""The exchanges of a run between its ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.comm import survivors
from mpidl.comm.gossip.exchange import RowExchange
from mpidl.comm.gossip.exchanges import Exchanges
from mpidl.comm.gossip.messages import give_up
from mpidl.comm.gossip.parcels import Parcels

if TYPE_CHECKING:
    from mpidl.comm.gossip.neighbourhood import Neighbourhood
    from mpidl.comm.gossip.plan import Edge
    from mpidl.comm.gossip.sizes import Cargo
    from mpidl.layout import Layout
    from mpidl.state import State


class Gossip(Exchanges):
    """Exchanges between the ranks of a neighbourhood."""

    def __init__(self, neighbourhood: Neighbourhood, state: State, layout: Layout, seed: int) -> None:
        super().__init__(neighbourhood.topology, neighbourhood.settings, state, layout, seed, neighbourhood.meters)
        self.neighbourhood = neighbourhood
        self._made: dict[str, RowExchange | Parcels[int] | Parcels[Edge]] = {}

    def rows(self, name: str, gamma: float, blocks: int, readable: bool) -> RowExchange:
        parameters, dtype = self.state.parameters, self.state.dtype
        made = self._made[name] = RowExchange(self.neighbourhood, name, parameters, dtype, gamma, blocks, readable)
        return made

    def _carrier(self, name: str, cargo: Cargo) -> Parcels[int]:
        made: Parcels[int] = Parcels(self.neighbourhood, name, cargo, per_edge=False)
        self._made[name] = made
        return made

    def _edge_carrier(self, name: str, cargo: Cargo) -> Parcels[Edge]:
        made: Parcels[Edge] = Parcels(self.neighbourhood, name, cargo, per_edge=True)
        self._made[name] = made
        return made

    def transports(self) -> dict[str, str]:
        """By quantity, how rows reach neighbours, in words; a collective call."""
        by_rank = self.neighbourhood.world.comm.allgather({name: made.transport for name, made in self._made.items()})
        return {name: ", ".join(dict.fromkeys(words[name] for words in by_rank)) for name in by_rank[0]}

    def warnings(self) -> list[str]:
        """What a person should know about that, and about what packs rows; a collective call."""
        by_rank = self.neighbourhood.world.comm.allgather(
            [made.warning for made in self._made.values() if made.warning]
        )
        of_ways = dict.fromkeys(warning for warnings in by_rank for warning in warnings)
        return [*self.settings.warnings(self.layout), *of_ways]

    def abandon(self) -> None:
        """Ends threads, and nothing else; for a rank on its own, once another has died."""
        for made in self._made.values():
            made.abandon()
        give_up()

    def close(self) -> None:
        """Releases requests and memory; all ranks together."""
        for made in self._made.values():
            made.close()
        self._made.clear()
        self._exchanges.clear()
        self._edges.clear()
        survivors.free(self.neighbourhood.comm)
