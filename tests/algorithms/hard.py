"""Methods that ask most of the core, each written as its paper has it and no longer: plug-ins of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.algorithms.direction import MomentumSettings
from mpidl.algorithms.federated.local import Local, LocalSettings

if TYPE_CHECKING:
    from torch import Tensor


class OutOfPlace(Decentralized):
    """Quasi-global momentum [Lin et al. 2021], which names the x before mixing after it."""

    class Settings(AlgorithmSettings, MomentumSettings):
        pass

    plain_alone = False

    def __init__(self, settings: Settings, given: Context) -> None:
        super().__init__(settings, given)
        self.m = self.state.rows("quasi-global momentum")

    def round(self, X: Tensor) -> Tensor:
        mu = self.settings.momentum
        D = mu * self.m + self.gradient(X)
        X_new = self.mix(X - self.lr * D)
        self.m.mul_(mu).add_((X - X_new) / self.lr, alpha=1 - mu)
        return X_new


class Tracking(Decentralized):
    """Gradient tracking: two mixed quantities, y⁺ = mix(y) + g − g⁻ and x⁺ = mix(x) − η y⁺."""

    mixed = ("parameters", "tracker")
    in_place = ("parameters", "tracker")
    messages = "2 deg"

    def __init__(self, settings: AlgorithmSettings, given: Context) -> None:
        super().__init__(settings, given)
        self.last = self.state.rows("last gradient")

    def round(self, X: Tensor) -> Tensor:
        self.send(X)
        self.send(self.present["tracker"], "tracker")
        G = self.gradient(X)
        X, Y = self.receive(), self.receive("tracker")
        Y.add_(G).sub_(self.last)
        self.last.copy_(G)
        return X.sub_(Y, alpha=self.lr)


class Push(Decentralized):
    """Stochastic gradient push [Assran et al. 2019]: x/ω are the models. ω follows from the graph on every rank."""

    def __init__(self, settings: AlgorithmSettings, given: Context) -> None:
        super().__init__(settings, given)
        self.omega = self.state.shared("push weights", len(self.everyone), torch.float64, initial=1.0)

    @classmethod
    def needs(cls, settings: AlgorithmSettings) -> tuple[str, ...]:
        return ("connected", "column stochastic")

    def local(self) -> Tensor:
        return self.X / self.omega[list(self.agents), None].to(self.X.dtype)

    def round(self, X: Tensor) -> Tensor:
        X = self.mix(X - self.lr * self.gradient(self.local()))
        mixing, omega = self.topology.at(self.t), self.omega.numpy().copy()
        receivers, senders, weights = mixing.entries
        arriving = np.bincount(receivers, weights * omega[senders], len(omega))
        self.omega.copy_(torch.from_numpy(np.array(mixing.self_weights) * omega + arriving))
        return X


class Dynamic(Local):
    """FedDyn [Acar et al. 2021, Algorithm 1] on uniform data: state of agents that exists once they took part."""

    class Settings(LocalSettings):
        alpha: float = Field(0.5, gt=0)

    plain_alone = False

    def __init__(self, settings: Settings, given: Context) -> None:
        super().__init__(settings, given)
        self.g = self.state.lazy_rows("gradient corrections")
        self.h = self.state.server("h")

    def local_gradient(self, agent: int, y: Tensor, x: Tensor, g: Tensor) -> None:
        g.sub_(self.g[agent]).add_(y - x, alpha=self.settings.alpha)

    def upload(self, agent: int, y: Tensor, x: Tensor, out: Tensor) -> None:
        super().upload(agent, y, x, out)
        self.g[agent].sub_(out[0], alpha=self.settings.alpha)

    def server(self, x: Tensor, total: Tensor) -> None:
        alpha, participants = self.settings.alpha, len(self.crew.agents)
        self.h.sub_(total[0], alpha=alpha * participants / len(self.everyone))
        x.add_(total[0]).sub_(self.h, alpha=1 / alpha)


class Controlled(Local):
    """SCAFFOLD [Karimireddy et al. 2020], option 2: two rows in one sum, of which one carries no weights."""

    uploads = downloads = 2
    messages = "2 up, 2 down"
    weighted = (True, False)

    def __init__(self, settings: LocalSettings, given: Context) -> None:
        super().__init__(settings, given)
        self.c = self.state.server("control")
        self.own = self.state.lazy_rows("controls")

    def local_gradient(self, agent: int, y: Tensor, x: Tensor, g: Tensor) -> None:
        g.sub_(self.own[agent]).add_(self.c)

    def upload(self, agent: int, y: Tensor, x: Tensor, out: Tensor) -> None:
        out[0].copy_(y).sub_(x)
        out[1].copy_(self.c).add_(out[0], alpha=1 / (len(self.steps(agent)) * self.lr)).neg_()
        self.own[agent].add_(out[1])

    def server(self, x: Tensor, total: Tensor) -> None:
        x.add_(total[0])
        self.c.add_(total[1], alpha=1 / len(self.everyone))


class Aligned(Local):
    """FedGA [Dandi et al. 2022]: agents start from x + β(g_i − ḡ), after a sum before local work."""

    class Settings(LocalSettings):
        beta: float = Field(0.1, ge=0)

    uploads = downloads = 2
    messages = "2 up, 2 down"
    surveys = 1

    def __init__(self, settings: Settings, given: Context) -> None:
        super().__init__(settings, given)
        self.g = self.state.scratch(*self.x.shape)

    def survey(self, agent: int, x: Tensor, out: Tensor) -> None:
        self.oracle.whole(agent, x, out[0])

    def begin(self, agent: int, x: Tensor, y: Tensor) -> None:
        self.oracle.whole(agent, x, self.g)
        y.copy_(x).add_(self.g.sub_(self.surveyed[0]), alpha=self.settings.beta)
