"""Mime and MimeLite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.federated.local import Local, LocalSettings
from mpidl.algorithms.federated.servers import SERVERS
from mpidl.algorithms.federated.servers.base import Server
from mpidl.algorithms.federated.servers.plain import Momentum
from mpidl.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


class MimeLite(Local):
    """Mime without control variates [Karimireddy et al. 2021, Algorithm 1].

        y ← y − a U(∇F_i(y; B) + λ y)        U: the direction of the server's optimizer from its frozen statistics
        x ← Σ_S p_i y_i;   the statistics take in c = Σ_S p_i (∇F_i(x) + λ x), x from before, over all data

    `server` names the optimizer: its `lr` is 1, since it is the agents that step along U, with `lr` of the algorithm.
    An agent is sent x and the statistics, and sends its model and its gradient over all data.
    """

    class Settings(LocalSettings):
        weighting: Literal["uniform", "data"] = Field(
            "data", description="the weights p_i of every average over agents: equal, or by the size of their data"
        )
        server: Annotated[Server, SERVERS] = Field(
            Momentum(name="momentum"), description="the optimizer whose frozen statistics agents step by"
        )

        @model_validator(mode="after")
        def _one_optimizer(self) -> Self:
            if self.momentum:
                raise ConfigError("agents step by the server's statistics; say 'server: {name: momentum}'", "momentum")
            if "lr" in self.server.model_fields_set and self.server.lr != 1:
                raise ConfigError("the server takes no step of its own here; give algorithm.lr", "server.lr")
            return self

    settings: Settings
    gradient_formula: ClassVar[str] = "K and a pass"
    surveys = 1
    plain_alone = False
    outlives = True

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        remembered = settings.server.remembers
        self.server_memory = {name: self.state.server(f"server {name}", value) for name, value in remembered.items()}

    @classmethod
    def rows_down(cls, settings: AlgorithmSettings) -> int:
        statistics = settings.server.remembers if isinstance(settings, MimeLite.Settings) else {}
        return cls.downloads + len(statistics)

    def survey(self, agent: int, x: Tensor, out: Tensor) -> None:
        self.whole_gradient(agent, x, out[0])

    def local_gradient(self, agent: int, y: Tensor, x: Tensor, g: Tensor, step: int) -> None:
        g.copy_(self.settings.server.frozen(g, self.server_memory))

    def server(self, x: Tensor, total: Tensor) -> None:
        super().server(x, total)
        self.settings.server.learn(self.surveyed[0], self.server_memory)


class Mime(MimeLite):
    """Mimicking centralized steps [Karimireddy et al. 2021, Algorithm 1].

    As mimelite, but agents step by U(∇F_i(y; B) − ∇F_i(x; B) + λ (y − x) + c), which takes a second gradient on each
    batch, and are sent c as well.
    """

    gradient_formula: ClassVar[str] = "2 K and a pass"
    downloads = 2

    def __init__(self, settings: MimeLite.Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._at_x = self.state.scratch(1, *self.x.shape)

    def local_gradient(self, agent: int, y: Tensor, x: Tensor, g: Tensor, step: int) -> None:
        self.gradients_at([agent], [x], self._at_x, [step])
        g.sub_(self._at_x[0]).add_(self.surveyed[0])
        super().local_gradient(agent, y, x, g, step)
