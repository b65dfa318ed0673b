"""SCAFFOLD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.federated.averaging import Averaging
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


class Scaffold(Averaging):
    """Stochastic controlled averaging [Karimireddy et al. 2020, Algorithm 1]. c and all c_i start at 0.

        y ← y − a (∇F_i(y) + λ y − c_i + c)
        option 1   c_i⁺ = ∇F_i(x) + λ x over all data of the agent        one pass more
        option 2   c_i⁺ = c_i − c + (x − y)/(K_i a)                        with the K_i and a of the round
        x ← x + η_s Σ_S p_i (y_i − x);   c ← c + Σ_S q_i (c_i⁺ − c_i)

    q_i is 1/N, or n_i/Σ n over all agents with `weighting: data`. Option 2 is the mean of the gradients of plain steps,
    so it goes without momentum; where a is 0 it keeps c_i. Every agent that ever took part keeps a row. Without agents
    that are dropped c would not be Σ q_i c_i any more, so that all of them begin at 0 again.
    """

    class Settings(Averaging.Settings):
        weighting: Literal["uniform", "data"] = Field(
            "uniform", description="the weights p_i of every average over agents: equal, or by the size of their data"
        )
        option: Literal[1, 2] = Field(
            2, description="an agent's control: 1 its gradient over all its data at x, 2 the mean one of its steps"
        )

        @model_validator(mode="after")
        def _plain_steps(self) -> Self:
            if self.option == 2 and self.momentum:
                raise ConfigError("option 2 divides by plain steps and goes without momentum; use option 1", "momentum")
            return self

    settings: Settings
    downloads = 2
    outlives = True
    weighted = (True, False)

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.c = self.state.server("control")
        self.own = self.state.lazy_rows("controls")
        self.state.renew("control", "controls")
        self._shares = dict(zip(context.everyone, self.weights(settings.weighting, context.everyone), strict=True))

    @classmethod
    def gradients(cls, settings: AlgorithmSettings) -> str:
        return "K and a pass" if isinstance(settings, Scaffold.Settings) and settings.option == 1 else "K"

    def local_gradient(self, agent: int, y: Tensor, x: Tensor, g: Tensor, step: int) -> None:
        g.sub_(self.own[agent]).add_(self.c)

    def upload(self, agent: int, y: Tensor, x: Tensor, out: Tensor) -> None:
        change = out[1]
        if self.settings.option == 1:
            self.whole_gradient(agent, x, change)
            change.sub_(self.own[agent])
        elif self.lr:
            change.copy_(x).sub_(y).div_(len(self.steps(agent)) * self.lr).sub_(self.c)
        else:
            change.zero_()
        self.own[agent].add_(change)
        change.mul_(self._shares[agent])
        super().upload(agent, y, x, out)

    def server(self, x: Tensor, total: Tensor) -> None:
        super().server(x, total)
        self.c.add_(total[1])
