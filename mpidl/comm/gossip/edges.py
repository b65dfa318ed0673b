"""Something else for every neighbour: a row of parameters for each directed edge, as algorithms exchange them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from mpidl.comm.gossip.schemes.packed import Packed
from mpidl.compressors.base import Losses
from mpidl.errors import ConfigError
from mpidl.rows import new_rows

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.plan import Edge
    from mpidl.comm.gossip.schemes.base import Carrier, Ground
    from mpidl.compressors.base import Compressor, Draw


class EdgeRows:
    """Rows [P] that are carried as they are."""

    def __init__(self, carrier: Carrier[Edge]) -> None:
        self._carrier = carrier

    def outgoing(self, t: int) -> Mapping[Edge, Tensor]:
        """Memory for the row of each edge of round t that begins here; all of it is to be written."""
        return self._carrier.outgoing(t)

    def swap(self, t: int) -> Mapping[Edge, Tensor]:
        """Gives them away; the row of each edge that ends here, until the next `outgoing`."""
        self._carrier.start(t)
        return self._carrier.finish()

    def keep(self, agent: int, row: Tensor, t: int) -> None:
        """An agent's row for itself stays as it is."""


class RoundedEdgeRows(EdgeRows):
    """Rows [P] that a narrower wire rounds, those between agents of one rank as well.

    They are written and read in blocks of their own dtype, which a graph that is drawn anew may outgrow.
    """

    def __init__(self, carrier: Carrier[Edge], leaving: Tensor, arriving: Tensor) -> None:
        super().__init__(carrier)
        self._leaving, self._arriving = leaving, arriving
        self._written: dict[Edge, Tensor] = {}

    def outgoing(self, t: int) -> Mapping[Edge, Tensor]:
        edges = list(super().outgoing(t))
        if list(self._written) != edges:
            self._leaving = _with_room(self._leaving, len(edges))
            self._written = dict(zip(edges, self._leaving, strict=False))
        return self._written

    def swap(self, t: int) -> Mapping[Edge, Tensor]:
        for edge, row in super().outgoing(t).items():
            row.copy_(self._written[edge])
        arrived = super().swap(t)
        self._arriving = _with_room(self._arriving, len(arrived))
        return {edge: wide.copy_(row) for wide, (edge, row) in zip(self._arriving, arrived.items(), strict=False)}


def _with_room(block: Tensor, rows: int) -> Tensor:
    """The block, or where it has too few rows a larger one."""
    return block if len(block) >= rows else new_rows((rows, block.shape[1]), block.dtype, block.device)


class PackedEdges:
    """Rows [P] that leave as C(g + e), with a memory e ← g + e − C(g + e) for each edge and for an agent itself.

    Compressed cross-gradients [Aketi et al. 2022, CompNGC], on static graphs. When agents are dropped, and others have
    new neighbours, all memories begin at 0 again.
    """

    def __init__(self, ground: Ground, name: str, compressor: Compressor) -> None:
        self._packed = Packed(ground, name, compressor)
        if self._packed.codec.memory:
            raise ConfigError(
                f"{compressor.name!r} remembers what it packed of an agent, but cross-gradients differ by neighbour; "
                "choose another compressor",
                "gossip.cross_gradients",
            )
        if ground.topology.period != 1:
            raise ConfigError("needs a graph that stays the same, to remember by edge", "gossip.cross_gradients")
        state, receivers = ground.state, ground.topology.at(0).receivers
        self._agents = state.agents
        edges = [(i, j) for i, row in enumerate(receivers) for j in row]
        self._errors = state.edge_rows(f"{name}: compression errors", edges)
        self._own_errors = state.rows(f"{name}: own compression errors")
        state.renew(f"{name}: compression errors", f"{name}: own compression errors")
        self._rows = dict(zip(self._errors, state.scratch(len(self._errors), state.parameters), strict=True))
        arriving = [(j, i) for i in state.agents for j in ground.topology.at(0).neighbours[i]]
        self._arrived = dict(zip(arriving, state.scratch(len(arriving), state.parameters), strict=True))
        self._own = state.scratch_bytes(self._packed.codec.nbytes)
        self._carrier, self._meters = ground.edge_carrier(name, self._packed.cargo), ground.meters
        self.losses = Losses()

    def outgoing(self, t: int) -> Mapping[Edge, Tensor]:
        """Memory for the row of each edge that begins here; all of it is to be written."""
        return self._rows

    def swap(self, t: int) -> Mapping[Edge, Tensor]:
        """Gives them away; the row of each edge that ends here, as it was packed, until the next `outgoing`."""
        with self._meters.time("packing"):
            for (i, j), into in self._carrier.outgoing(t).items():
                self._pack(i, self._errors[i, j], self._rows[i, j], into, self._packed.draw(i, t, j))
        self._carrier.start(t)
        came = self._carrier.finish()
        with self._meters.time("packing"):
            for (j, i), packed in came.items():
                self._packed.unpack(packed, self._arrived[j, i], self._packed.draw(j, t, i))
        return self._arrived

    def keep(self, agent: int, row: Tensor, t: int) -> None:
        """Packs and unpacks an agent's row for itself, in place, with a memory of its own."""
        draw = self._packed.draw(agent, t, agent)
        self._pack(agent, self._own_errors[self._agents.index(agent)], row, self._own, draw)
        self._packed.unpack(self._own, row, draw)

    def _pack(self, agent: int, error: Tensor, row: Tensor, into: Tensor, draw: Draw) -> None:
        """C(g + e) into `into`, and e ← g + e − C(g + e)."""
        self._packed.codec.pack(error.add_(row), into, draw)
        add = partial(self._packed.add, into, draw=draw)
        self.losses.see(agent, error, add)
        add(error, -1.0)
