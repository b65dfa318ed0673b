"""What compressed schemes share: a row is packed, its bytes travel, and what they mean is added where they arrive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from mpidl.comm.gossip.schemes.base import Scheme
from mpidl.comm.gossip.sizes import Cargo
from mpidl.compressors.base import Draw, Losses
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.schemes.base import Ground
    from mpidl.compressors.base import Add, Compressor


class Term(NamedTuple):
    """What one agent's row is to another: of whom, its weight w_ij, and how to add what was packed of it."""

    agent: int
    weight: float
    add: Add


class Packing(Scheme):
    """Settings of a scheme whose rows travel packed."""

    compresses: ClassVar[bool] = True


class Packed:
    """Packs and unpacks the rows of one quantity, in their own dtype and on their own device."""

    def __init__(self, ground: Ground, name: str, compressor: Compressor) -> None:
        # Here and below, because settings of schemes must not bring torch.
        import torch

        self.name, self._seed, state = name, ground.seed, ground.state
        self.codec = compressor.codec(ground.layout, state.dtype, state.device)
        self.cargo = Cargo(self.codec.nbytes, torch.uint8, str(compressor), whole=True)

    def draw(self, agent: int, t: int, receiver: int | None = None) -> Draw:
        """What the random choices follow from that pack an agent's row of round t, for one receiver or for all."""
        purpose = self.name if receiver is None else f"{self.name} for {receiver}"
        return Draw(self._seed, f"compression of {purpose}", agent, t)

    def add(self, packed: Tensor, out: Tensor, weight: float, draw: Draw) -> None:
        """out += weight · C(row)."""
        from mpidl.rows import on_boundary

        self.codec.add(on_boundary(packed), out, weight, draw)

    def unpack(self, packed: Tensor, out: Tensor, draw: Draw) -> None:
        """out = C(row)."""
        from mpidl.rows import on_boundary

        self.codec.unpack(on_boundary(packed), out, draw)


class PackedExchange(ABC):
    """Gossip of one quantity whose packed rows go to all neighbours of their agent.

    Nobody else reads the blocks, so that what is mixed is mixed where it stands, and one block is enough for what is
    written in place. A scheme says what is packed, what it remembers of that, and what becomes of the row.
    """

    def __init__(self, ground: Ground, name: str, gamma: float, blocks: int) -> None:
        from mpidl.rows import new_rows

        self.name, self.gamma, self._topology = name, gamma, ground.topology
        state = self._state = ground.state
        self.agents = state.agents
        self.blocks: Sequence[Tensor] = new_rows(
            (blocks - 1, len(self.agents), state.parameters), state.dtype, state.device
        ).unbind()
        self._places = (0, len(self.blocks) - 1)
        self._meters = ground.meters
        self._turn: tuple[Tensor, int] | None = None
        self.losses = Losses()

    @property
    def present(self) -> Tensor:
        return self.blocks[self._places[0]]

    @property
    def draft(self) -> Tensor:
        return self.blocks[self._places[1]]

    def mix(self, Z: Tensor, t: int) -> Tensor:
        self.start(Z, t)
        return self.finish()

    def start(self, Z: Tensor, t: int) -> None:
        if self._turn is not None:
            raise ValueError(f"exchange {self.name!r}: start() before the turn before was finished")
        addresses = [block.data_ptr() for block in self.blocks]
        if Z.data_ptr() not in addresses:
            raise ValueError(f"exchange {self.name!r}: what is mixed must be one of its blocks")
        self._send(Z, t)
        self._turn = Z, t

    def finish(self) -> Tensor:
        if self._turn is None:
            raise ValueError(f"exchange {self.name!r}: finish() without start()")
        (Z, t), self._turn = self._turn, None
        self._receive(Z, t)
        if Z.data_ptr() != self.present.data_ptr():
            self._places = self._places[::-1]
        return self.present

    @abstractmethod
    def _send(self, Z: Tensor, t: int) -> None:
        """Packs what this turn sends of Z, and starts its carrier."""

    @abstractmethod
    def _receive(self, Z: Tensor, t: int) -> None:
        """Takes what arrives, and makes of Z what the scheme says."""

    @abstractmethod
    def neighbours(self, agent: int) -> Mapping[int, Tensor]:
        """By neighbour, what an agent knows of its row after the last mixing."""


class RowsOfAgents(PackedExchange):
    """One packed row of each agent, the same for all its neighbours."""

    def __init__(self, ground: Ground, name: str, gamma: float, blocks: int, readable: bool = False) -> None:
        super().__init__(ground, name, gamma, blocks)
        self.packed = Packed(ground, name, ground.compressor)
        codec = self.packed.codec
        self._memory = {what: self._state.factors(f"{name}: {what}", shape) for what, shape in codec.memory.items()}
        self._carrier = ground.carrier(name, self.packed.cargo)
        self._scratch = self._state.scratch(self._state.parameters)
        if readable:
            rounds = [self._topology.at(t) for t in self._topology.rounds(100)]
            most = max(len(mixing.neighbours[i]) for mixing in rounds for i in self.agents)
            self._unpacked = self._state.scratch(len(self.agents), most, self._state.parameters)
        self._sent: Mapping[int, Tensor] = {}
        self._came: tuple[Mapping[int, Tensor], int] = ({}, 0)

    @abstractmethod
    def message(self, place: int, z: Tensor, out: Tensor) -> Tensor:
        """What the agent at this place packs: written into `out`, or a row that there is."""

    def remember(self, place: int, v: Tensor, add: Add) -> None:
        """Take note of what was packed."""

    @abstractmethod
    def mixed(self, place: int, z: Tensor, own: Term, neighbours: Iterable[Term]) -> None:
        """Make of z what the scheme says, from the agent's own packed row and those of its neighbours, ascending."""

    def _send(self, Z: Tensor, t: int) -> None:
        self._sent = self._carrier.outgoing(t)
        with self._meters.time("packing"):
            for place, agent in enumerate(self.agents):
                draw, into = self.packed.draw(agent, t), self._sent[agent]
                v = self.message(place, Z[place], self._scratch)
                memory = {what: block[place] for what, block in self._memory.items()}
                self.packed.codec.pack(v, into, draw, memory)
                add = self._adder(into, agent, t)
                self.losses.see(agent, v, add)
                self.remember(place, v, add)
        self._carrier.start(t)

    def _receive(self, Z: Tensor, t: int) -> None:
        arrived = self._carrier.finish()
        self._came = arrived, t
        mixing = self._topology.at(t)
        with self._meters.time("mixing"):
            for place, i in enumerate(self.agents):
                own = Term(i, mixing.self_weights[i], self._adder(self._sent[i], i, t))
                weights = zip(mixing.neighbours[i], mixing.weights[i], strict=True)
                neighbours = [Term(j, weight, self._adder(arrived[j], j, t)) for j, weight in weights]
                self.mixed(place, Z[place], own, neighbours)

    def _adder(self, packed: Tensor, agent: int, t: int) -> Add:
        draw = self.packed.draw(agent, t)
        return lambda out, weight: self.packed.add(packed, out, weight, draw)

    def neighbours(self, agent: int) -> Mapping[int, Tensor]:
        arrived, t = self._came
        known = self._topology.at(t).neighbours[agent]
        if not known:
            return {}
        rows = dict(zip(known, self._unpacked[self.agents.index(agent)], strict=False))
        for j, row in rows.items():
            self.packed.unpack(arrived[j], row, self.packed.draw(j, t))
        return rows


def refused(scheme: str, why: str) -> ConfigError:
    """A graph that a scheme cannot work on."""
    return ConfigError(f"{scheme!r} {why}", "gossip.scheme")
