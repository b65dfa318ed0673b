"""DiLoCo."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from mpidl.algorithms.directions import DIRECTIONS
from mpidl.algorithms.directions.adaptive import AdamW
from mpidl.algorithms.directions.base import Direction
from mpidl.algorithms.federated.fedavg import FedAvg
from mpidl.algorithms.federated.servers import SERVERS
from mpidl.algorithms.federated.servers.base import Server
from mpidl.algorithms.federated.servers.plain import Momentum


class DiLoCo(FedAvg):
    """Distributed low-communication training [Douillard et al. 2023, Algorithm 1].

        H inner steps of AdamW, whose state the agent keeps;   g = x − Σ_S p_i y_i
        v ← 0.9 v + g;   x ← x − 0.7 (g + 0.9 v)                                    v starts at 0

    That is local SGD with another inner direction and a server with Nesterov's momentum: the published choices are the
    defaults here, and each can be changed. A row each way every H gradients.
    """

    class Settings(FedAvg.Settings):
        lr: float = Field(4e-4, ge=0, description="inner learning rate; the schedule multiplies it")
        clip_norm: float | None = Field(1.0, gt=0, description="largest norm of a gradient row, before weight decay")
        weighting: Literal["uniform", "data"] = Field(
            "uniform", description="the weights p_i of every average over agents: equal, or by the size of their data"
        )
        local_steps: PositiveInt | None = Field(500, description="H, inner steps between two averages")
        local_momentum: Literal["reset", "keep"] = Field(
            "keep", description="whether an agent's inner state starts at zero in each round, or stays with the agent"
        )
        direction: Annotated[Direction, DIRECTIONS] = Field(
            AdamW(name="adamw", beta1=0.9, beta2=0.95, weight_decay=0.1),
            description="what the inner optimizer steps along",
        )
        server: Annotated[Server, SERVERS] = Field(
            Momentum(name="momentum", lr=0.7, beta=0.9, nesterov=True), description="the outer optimizer"
        )

    settings: Settings
    gradient_formula = "H"
    plain_alone = False
