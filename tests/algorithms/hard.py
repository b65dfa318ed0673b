"""Methods that ask most of the core, each written as its paper has it and no longer: plug-ins of the tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from mpidl.algorithms.base import Context
from mpidl.algorithms.federated.local import Local, LocalSettings
from mpidl.comm.gossip.schemes import Scheme
from mpidl.comm.gossip.sizes import Cargo
from mpidl.rows import new_rows

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.schemes.base import Ground


class Squeezed(Scheme):
    """DeepSqueeze [Tang et al. 2019] with float32 as its compressor: what rounding loses is sent later."""

    gamma: float = 0.5

    def exchange(self, ground: Ground, name: str, blocks: int = 2, readable: bool = False) -> SqueezedExchange:
        return SqueezedExchange(ground, name, blocks, self.gamma)


class SqueezedExchange:
    def __init__(self, ground: Ground, name: str, blocks: int, gamma: float) -> None:
        state = self._state = ground.state
        self.blocks = new_rows((blocks - 1, len(state.agents), state.parameters), state.dtype, state.device).unbind()
        self.present, self.draft = self.blocks[0], self.blocks[-1]
        self._left = state.rows(f"{name}: left over")
        self._topology, self._gamma = ground.topology, gamma
        self._carrier = ground.carrier(name, Cargo(state.parameters, torch.float32, "squeezed", whole=True))

    def start(self, Z: Tensor, t: int) -> None:
        self._Z, self._t = Z, t
        self._sent = self._carrier.outgoing(t)
        for place, i in enumerate(self._state.agents):
            v = Z[place] + self._left[place]
            self._sent[i].copy_(v)
            self._left[place].copy_(v).sub_(self._sent[i])
        self._carrier.start(t)

    def finish(self) -> Tensor:
        arrived, mixing = self._carrier.finish(), self._topology.at(self._t)
        for place, i in enumerate(self._state.agents):
            self._Z[place].add_(self._sent[i], alpha=self._gamma * (mixing.self_weights[i] - 1))
            for j, weight in zip(mixing.neighbours[i], mixing.weights[i], strict=True):
                self._Z[place].add_(arrived[j], alpha=self._gamma * weight)
        if self._Z is not self.present:
            self.present, self.draft = self.draft, self.present
        return self.present

    def mix(self, Z: Tensor, t: int) -> Tensor:
        self.start(Z, t)
        return self.finish()

    def neighbours(self, agent: int) -> Mapping[int, Tensor]:
        raise ValueError("nothing here reads them")


class Controlled(Local):
    """SCAFFOLD [Karimireddy et al. 2020], option 2: two rows in one sum, of which one carries no weights."""

    downloads = 2
    weighted = (True, False)

    def __init__(self, settings: LocalSettings, context: Context) -> None:
        super().__init__(settings, context)
        self.c = self.state.server("control")
        self.own = self.state.lazy_rows("controls")

    def local_gradient(self, agent: int, y: Tensor, x: Tensor, g: Tensor, step: int) -> None:
        g.sub_(self.own[agent]).add_(self.c)

    def upload(self, agent: int, y: Tensor, x: Tensor, out: Tensor) -> None:
        out[0].copy_(y).sub_(x)
        out[1].copy_(self.c).add_(out[0], alpha=1 / (len(self.steps(agent)) * self.lr)).neg_()
        self.own[agent].add_(out[1])

    def server(self, x: Tensor, total: Tensor) -> None:
        x.add_(total[0])
        self.c.add_(total[1], alpha=1 / len(self.everyone))
