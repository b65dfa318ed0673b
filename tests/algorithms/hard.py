"""Methods that ask most of the core, each written as its paper has it and no longer: plug-ins of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from mpidl.algorithms.base import Context
from mpidl.algorithms.federated.local import Local, LocalSettings

if TYPE_CHECKING:
    from torch import Tensor


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
