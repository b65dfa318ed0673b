"""What methods share that average what agents arrive at, and let a configured server move by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mpidl.algorithms.base import Context
from mpidl.algorithms.federated.local import Local, LocalSettings
from mpidl.algorithms.federated.servers import SERVERS
from mpidl.algorithms.federated.servers.base import Server
from mpidl.algorithms.federated.servers.plain import SGD

if TYPE_CHECKING:
    from torch import Tensor


class Averaging(Local):
    """x ← server(x, Σ_S p_i (y_i − x)): the sum of displacements moves x as the server's rule says."""

    class Settings(LocalSettings):
        weighting: Literal["uniform", "data"] = Field(
            "data", description="the weights p_i of every average over agents: equal, or by the size of their data"
        )
        server: Annotated[Server, SERVERS] = Field(
            SGD(name="sgd"), description="how the server moves by the mean displacement of the agents"
        )

    settings: Settings

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        remembered = settings.server.remembers
        self.server_memory = {name: self.state.server(f"server {name}", value) for name, value in remembered.items()}

    def server(self, x: Tensor, total: Tensor) -> None:
        self.move(x, total[0])

    def move(self, x: Tensor, displacement: Tensor) -> None:
        """Let the configured server move x."""
        server = self.settings.server
        server.learn(displacement, self.server_memory)
        x.add_(server.direction(displacement, self.server_memory), alpha=server.lr)
