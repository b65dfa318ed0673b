"""Local SGD and federated averaging."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mpidl.algorithms.base import Context
from mpidl.algorithms.direction import DirectionSettings
from mpidl.algorithms.federated.averaging import Averaging
from mpidl.algorithms.federated.uploads import Uplink, Upload
from mpidl.compressors.base import Losses


class FedAvg(Averaging):
    """Federated averaging [McMahan et al. 2017, Algorithm 1], with any server [Reddi et al. 2021, Algorithm 1].

        y_i = x;  K or E times  y_i ← y_i − a direction(∇F_i(y_i) + λ y_i);  x ← server(x, Σ_S p_i (y_i − x))

    A part of the agents takes part, and their momentum starts at zero in each round. The server `{name: sgd, lr: 1}`
    is plain averaging; momentum, adagrad, adam and yogi make FedAvgM, FedAdagrad, FedAdam and FedYogi of it.

    With `upload: {compressor}`, y_i − x travels packed: agents send C(v), v = y_i − x + e_i, and keep e_i ← v − C(v).
    `bytes_sent` counts these packed rows. Ranks add up what they are unpacked into, and what they show or send each
    other, in `bytes_shared` and `bytes_mpi`, are partial sums of their agents: a few whole rows, however many agents.
    """

    class Settings(Averaging.Settings, DirectionSettings):
        upload: Upload = Field(Upload(), description="how agents' rows travel to the server: {compressor}")

    settings: Settings
    outlives = True

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        upload = settings.upload
        if upload.compressor is not None:
            self.uplink = Uplink(upload.compressor, upload.error_feedback, context, len(self.weighted))
            self.metrics = (*self.metrics, Losses.metric)


class LocalSGD(FedAvg):
    """Local SGD [Stich 2019; Lin et al. 2020 for `post_local`].

    As fedavg, but by default all agents take part with equal weights, and each keeps its momentum from round to round.
    """

    class Settings(FedAvg.Settings):
        weighting: Literal["uniform", "data"] = Field(
            "uniform", description="the weights p_i of every average over agents: equal, or by the size of their data"
        )
        local_momentum: Literal["reset", "keep"] = Field(
            "keep", description="whether an agent's momentum starts at zero in each round, or stays with the agent"
        )
