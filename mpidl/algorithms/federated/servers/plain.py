"""Servers that step along the mean displacement, or along a momentum of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from mpidl.algorithms.federated.servers.base import Server

if TYPE_CHECKING:
    from torch import Tensor


class SGD(Server):
    """x ← x + η_s Δ."""

    def direction(self, d: Tensor, memory: Mapping[str, Tensor]) -> Tensor:
        return d

    def frozen(self, d: Tensor, memory: Mapping[str, Tensor]) -> Tensor:
        return d


class Momentum(Server):
    """v ← βv + Δ;  x ← x + η_s v, or with Nesterov's look ahead x + η_s (Δ + βv)."""

    beta: float = Field(0.9, ge=0, lt=1, description="β in v = βv + Δ (no dampening)")
    nesterov: bool = Field(False, description="step along Δ + βv instead of v")

    @property
    def remembers(self) -> dict[str, float]:
        return {"v": 0.0}

    def learn(self, d: Tensor, memory: Mapping[str, Tensor]) -> None:
        memory["v"].mul_(self.beta).add_(d)

    def direction(self, d: Tensor, memory: Mapping[str, Tensor]) -> Tensor:
        return d.add(memory["v"], alpha=self.beta) if self.nesterov else memory["v"]

    def frozen(self, d: Tensor, memory: Mapping[str, Tensor]) -> Tensor:
        v = d.add(memory["v"], alpha=self.beta)
        return d.add(v, alpha=self.beta) if self.nesterov else v
