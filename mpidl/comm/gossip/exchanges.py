"""The exchanges of a run over one graph, each of one named quantity. No MPI here, so that a run can be rehearsed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

from mpidl.comm.gossip.edges import EdgeRows, PackedEdges, RoundedEdgeRows
from mpidl.comm.gossip.settings import CROSS_GRADIENTS
from mpidl.comm.gossip.sizes import PARCEL_BLOCKS, Cargo
from mpidl.errors import ConfigError
from mpidl.rows import room

if TYPE_CHECKING:
    from mpidl.comm.gossip.plan import Edge
    from mpidl.comm.gossip.schemes.base import Carrier, EdgeExchange, Exchange
    from mpidl.comm.gossip.settings import GossipSettings
    from mpidl.comm.meters import Meters
    from mpidl.compressors.base import Compressor
    from mpidl.graphs.base import Topology
    from mpidl.layout import Layout
    from mpidl.state import State


SAMPLE = 100
"""Rounds that are looked at of a graph drawn anew, to tell how much memory its rounds take."""


class Exchanges(ABC):
    """The ground of a scheme, and the exchanges made on it: in a run, and in its rehearsal without ranks.

    Every rank asks for the same exchanges in the same order.
    """

    def __init__(
        self,
        topology: Topology,
        settings: GossipSettings,
        state: State,
        layout: Layout,
        seed: int,
        meters: Meters,
    ) -> None:
        self.topology, self.settings, self.meters = topology, settings, meters
        self.state, self.layout, self.seed = state, layout, seed
        self._exchanges: dict[str, tuple[Exchange, int, bool]] = {}
        self._edges: dict[str, EdgeExchange] = {}

    @property
    def gamma(self) -> float:
        """The consensus step γ of the scheme."""
        return self.settings.scheme.gamma

    @property
    def compressor(self) -> Compressor:
        """What packs rows."""
        if self.settings.compressor is None:
            raise ConfigError(f"is missing; the scheme {self.settings.scheme.name!r} needs one", "gossip.compressor")
        return self.settings.compressor

    @abstractmethod
    def rows(self, name: str, gamma: float, blocks: int, readable: bool) -> Exchange:
        """Whole rows: Z + γ(WZ − Z)."""

    @abstractmethod
    def _carrier(self, name: str, cargo: Cargo) -> Carrier[int]:
        """What carries the rows of agents."""

    @abstractmethod
    def _edge_carrier(self, name: str, cargo: Cargo) -> Carrier[Edge]:
        """What carries the rows of edges."""

    def carrier(self, name: str, cargo: Cargo) -> Carrier[int]:
        """Rows of agents that go to all their receivers; the blocks that they leave from are counted as scratch."""
        self.state.reserve(room(PARCEL_BLOCKS * len(self.state.agents), cargo.length, cargo.dtype))
        return self._carrier(name, cargo)

    def edge_carrier(self, name: str, cargo: Cargo) -> Carrier[Edge]:
        """Rows of edges, of which each goes to one receiver; the blocks that they leave from are counted as scratch."""
        self.state.reserve(room(PARCEL_BLOCKS * self._most("receivers"), cargo.length, cargo.dtype))
        return self._edge_carrier(name, cargo)

    def _most(self, which: Literal["receivers", "neighbours"]) -> int:
        """Edges that begin here, or end here, in the round that has most of them."""
        rounds = (getattr(self.topology.at(t), which) for t in self.topology.rounds(SAMPLE))
        return max(sum(len(others[i]) for i in self.state.agents) for others in rounds)

    def exchange(self, name: str, blocks: int = 2, readable: bool = False) -> Exchange:
        """The exchange of this quantity, made when it is first asked for (by all ranks together)."""
        if name not in self._exchanges:
            if blocks not in (2, 3):
                raise ValueError(f"exchange {name!r}: {blocks} blocks were asked for; an exchange has two or three")
            made = self.settings.scheme.exchange(self, name, blocks, readable)
            # One of them is declared by the algorithm, as the state that lives in it.
            self.state.reserve(self._room((len(made.blocks) - 1) * len(self.state.agents)))
            wire = self.settings.wire_dtype(self.state.dtype)
            if readable and not self.settings.scheme.compresses and wire != self.state.dtype:
                # Neighbours' rows as they are read, in the dtype of the own.
                self.state.reserve(self._room(self._most("neighbours")))
            self._exchanges[name] = made, blocks, readable
        exchange, *asked = self._exchanges[name]
        if asked != [blocks, readable]:
            raise ValueError(
                f"exchange {name!r} was made with blocks={asked[0]}, readable={asked[1]} already, not with "
                f"blocks={blocks}, readable={readable}"
            )
        return exchange

    def edges(self, name: str) -> EdgeExchange:
        """Rows that differ by neighbour, made when they are first asked for (by all ranks together)."""
        packed = self.settings.cross_gradients
        if name not in self._edges and name == CROSS_GRADIENTS and packed is not None:
            self._edges[name] = PackedEdges(self, name, packed)
        if name not in self._edges:
            wire = self.settings.wire_dtype(self.state.dtype)
            carrier = self.edge_carrier(name, Cargo(self.state.parameters, wire, whole=True))
            if wire == self.state.dtype:
                self._edges[name] = EdgeRows(carrier)
            else:
                self._edges[name] = RoundedEdgeRows(
                    carrier,
                    self.state.scratch(self._most("receivers"), self.state.parameters),
                    self.state.scratch(self._most("neighbours"), self.state.parameters),
                )
        return self._edges[name]

    def _room(self, rows: int) -> int:
        return room(rows, self.state.parameters, self.state.dtype)
