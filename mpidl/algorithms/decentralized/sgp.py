"""Stochastic gradient push."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.algorithms.direction import KeptDirection, MomentumSettings

if TYPE_CHECKING:
    from torch import Tensor


class SGP(Decentralized):
    """Stochastic gradient push [Assran et al. 2019, Algorithm 1], for directed graphs.

    A is column stochastic: an agent divides what it has among those that it sends to, by default equally.

        z = x/ω;   x⁺ = mix(x − η d(z));   ω⁺ = ω + γ(Aω − ω)                                      ω⁰ = 1

    z are the models, whose gradients are taken and which are evaluated. ω corrects for what an agent gets more or less
    than others, so that rows of A need not sum to 1. It follows from the graph alone, so every rank computes it for
    all agents and nobody sends it; a compressed scheme mixes x, and ω goes by the same A and γ. Who is dropped takes
    x and ω along, and the others come to Σx/Σω over those that are left.
    """

    class Settings(AlgorithmSettings, MomentumSettings):
        pass

    settings: Settings
    in_place = ("parameters",)
    outlives = True

    def __init__(self, settings: Settings, context: Context) -> None:
        import torch

        super().__init__(settings, context)
        self.direction = KeptDirection(settings.rule, self.layout, self.state.rows)
        self.omega = self.state.shared("push weights", self.state.total, torch.float64, initial=1.0)
        self.Z = self.state.scratch(*self.X.shape)
        self._gamma = context.exchanges.gamma

    @classmethod
    def needs(cls, settings: AlgorithmSettings) -> tuple[str, ...]:
        return ("connected", "column stochastic")

    def local(self) -> Tensor:
        """z = x/ω."""
        return self.Z.copy_(self.X).div_(self.omega[list(self.agents), None].to(self.X.dtype))

    def round(self, X: Tensor) -> Tensor:
        Z = self.local()
        D = self.direction(self.gradient(Z), Z, self.t, self.lr)
        X = self.mix(X.sub_(D, alpha=self.lr))
        self.omega.copy_(self.omega.new_tensor(self._pushed(self.omega.cpu().numpy())))
        return X

    def _pushed(self, omega: np.ndarray) -> np.ndarray:
        """ω + γ(Aω − ω)."""
        A = self.topology.at(self.t)
        receivers, senders, weights = A.entries
        arriving = np.bincount(receivers, weights * omega[senders], len(omega))
        return omega + self._gamma * (np.array(A.self_weights) * omega + arriving - omega)
