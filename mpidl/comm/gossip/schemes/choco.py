"""Compressed gossip of differences to what neighbours know already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from pydantic import Field

from mpidl.comm.gossip.schemes.packed import Packed, PackedExchange, Packing, RowsOfAgents, refused
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.schemes.base import Ground
    from mpidl.comm.gossip.schemes.packed import Term
    from mpidl.compressors.base import Add
    from mpidl.graphs.base import Topology


class Choco(Packing):
    """CHOCO gossip [Koloskova et al. 2019, Algorithm 2], mixing with the new hats; x̂⁰ = 0.

        q_i = C(z_i − x̂_i);   x̂_j += q_j, own and neighbours';   z⁺ = z_i + γ (Σ_j w_ij x̂_j − x̂_i)

    A hat is what all neighbours know of a row. On a graph that changes they would not know the same, so that each
    directed edge has a hat of its own, known to both ends and moved only when the edge is used:

        q = C(z_i − x̂_ij);   x̂_ij += q at both ends;   z⁺ = z_i + γ Σ_j w_ij (x̂_ji − x̂_ij)

    When agents are dropped, hats of agents begin at 0 again, since their new neighbours know none; those of edges stay.
    """

    feeds_back = True
    outlives = True

    gamma: float = Field(gt=0, le=1, description="consensus step γ; compressors that lose much need a small one")

    def check(self, topology: Topology) -> None:
        for t in topology.rounds(8):
            mixing = topology.at(t)
            if not (mixing.column_stochastic and mixing.row_stochastic):
                raise refused(
                    self.name,
                    "needs weights whose rows and columns sum to 1, and here they do not; choose deepsqueeze, or an "
                    "undirected graph",
                )
            if topology.period != 1 and not mixing.symmetric:
                raise refused(
                    self.name,
                    "keeps a hat for each edge of a graph that changes, which needs symmetric weights; choose "
                    "deepsqueeze, or an undirected graph",
                )

    def exchange(self, ground: Ground, name: str, blocks: int = 2, readable: bool = False) -> PackedExchange:
        if ground.topology.period != 1:
            return EdgeHats(ground, name, self.gamma, blocks)
        return (KnownHats if readable else MixedHats)(ground, name, self.gamma, blocks)


class Hats(RowsOfAgents):
    """Hats of agents on a static graph."""

    def __init__(self, ground: Ground, name: str, gamma: float, blocks: int) -> None:
        super().__init__(ground, name, gamma, blocks)
        self._hats = ground.state.rows(f"{name}: hats")
        ground.state.renew(f"{name}: hats")

    def message(self, place: int, z: Tensor, out: Tensor) -> Tensor:
        return out.copy_(z).sub_(self._hats[place])

    def remember(self, place: int, v: Tensor, add: Add) -> None:
        add(self._hats[place], 1.0)


class MixedHats(Hats):
    """Of its neighbours' hats an agent keeps s_i = Σ_j w_ij x̂_j, which moves by Σ_j w_ij q_j."""

    def __init__(self, ground: Ground, name: str, gamma: float, blocks: int) -> None:
        super().__init__(ground, name, gamma, blocks)
        self._sums = ground.state.rows(f"{name}: mixed hats")
        ground.state.renew(f"{name}: mixed hats")

    def mixed(self, place: int, z: Tensor, own: Term, neighbours: Iterable[Term]) -> None:
        s = self._sums[place]
        for term in (own, *neighbours):
            term.add(s, term.weight)
        z.add_(s, alpha=self.gamma).sub_(self._hats[place], alpha=self.gamma)


class KnownHats(Hats):
    """Every neighbour's hat by itself, for methods that read them."""

    def __init__(self, ground: Ground, name: str, gamma: float, blocks: int) -> None:
        super().__init__(ground, name, gamma, blocks)
        neighbours = ground.topology.at(0).neighbours
        edges = [(i, j) for i, known in enumerate(neighbours) for j in known]
        self._known = ground.state.edge_rows(f"{name}: neighbours' hats", edges)
        ground.state.renew(f"{name}: neighbours' hats")

    def mixed(self, place: int, z: Tensor, own: Term, neighbours: Iterable[Term]) -> None:
        z.add_(self._hats[place], alpha=self.gamma * (own.weight - 1))
        for term in neighbours:
            hat = self._known[own.agent, term.agent]
            term.add(hat, 1.0)
            z.add_(hat, alpha=self.gamma * term.weight)

    def neighbours(self, agent: int) -> Mapping[int, Tensor]:
        return {j: self._known[agent, j] for j in self._topology.at(0).neighbours[agent]}


class EdgeHats(PackedExchange):
    """A hat for each directed edge, at both its ends, on a graph that changes."""

    def __init__(self, ground: Ground, name: str, gamma: float, blocks: int) -> None:
        super().__init__(ground, name, gamma, blocks)
        self._packed = Packed(ground, name, ground.compressor)
        if self._packed.codec.memory:
            raise ConfigError(
                f"{ground.compressor.name!r} remembers what it packed of an agent, but choco on a graph that changes "
                "packs something else for every neighbour; choose another compressor",
                "gossip.compressor",
            )
        rounds = [self._topology.at(t) for t in self._topology.rounds(100)]
        used = {(i, j) for mixing in rounds for i in self.agents for j in mixing.receivers[i]}
        self._there = self._state.lazy_edge_rows(f"{name}: hats that receivers know", 0, len(used))
        self._here = self._state.lazy_edge_rows(f"{name}: hats of senders", 1, len(used))
        self._carrier = ground.edge_carrier(name, self._packed.cargo)
        self._scratch = self._state.scratch(self._state.parameters)

    def _send(self, Z: Tensor, t: int) -> None:
        place = {agent: number for number, agent in enumerate(self.agents)}
        leaving = self._carrier.outgoing(t)
        with self._meters.time("packing"):
            for (i, j), into in leaving.items():
                hat, draw = self._there[i, j], self._packed.draw(i, t, j)
                v = self._scratch.copy_(Z[place[i]]).sub_(hat)
                self._packed.codec.pack(v, into, draw)
                add = partial(self._packed.add, into, draw=draw)
                self.losses.see(i, v, add)
                add(hat, 1.0)
        self._carrier.start(t)

    def _receive(self, Z: Tensor, t: int) -> None:
        arrived, mixing = self._carrier.finish(), self._topology.at(t)
        with self._meters.time("mixing"):
            for z, i in zip(Z, self.agents, strict=True):
                for j, weight in zip(mixing.neighbours[i], mixing.weights[i], strict=True):
                    hat = self._here[j, i]
                    self._packed.add(arrived[j, i], hat, 1.0, self._packed.draw(j, t, i))
                    z.add_(hat, alpha=self.gamma * weight).sub_(self._there[i, j], alpha=self.gamma * weight)

    def neighbours(self, agent: int) -> Mapping[int, Tensor]:
        raise ValueError(f"exchange {self.name!r}: on a graph that changes nobody knows all of a neighbour's row")
