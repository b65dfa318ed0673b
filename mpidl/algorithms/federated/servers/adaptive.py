"""Servers that scale each coordinate by what it has moved before [Reddi et al. 2021, Algorithm 2]."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from mpidl.algorithms.federated.servers.base import Server

if TYPE_CHECKING:
    from torch import Tensor


class Adaptive(Server):
    """m ← β₁m + (1 − β₁)Δ;  x ← x + η_s m/(√v + τ). A subclass says what v is."""

    lr: float = Field(0.01, gt=0, description="server learning rate η_s")
    beta1: float = Field(0.9, ge=0, lt=1, description="β₁ of m; 0 steps along Δ itself")
    tau: float = Field(1e-3, gt=0, description="τ in √v + τ; v starts at τ²")

    @property
    def remembers(self) -> dict[str, float]:
        return {"m": 0.0, "v": self.tau**2}

    def learn(self, d: Tensor, memory: Mapping[str, Tensor]) -> None:
        memory["m"].lerp_(d, 1 - self.beta1)
        self.accumulate(memory["v"], d)

    @abstractmethod
    def accumulate(self, v: Tensor, d: Tensor) -> None:
        """Have v take in Δ²."""

    def direction(self, d: Tensor, memory: Mapping[str, Tensor]) -> Tensor:
        return memory["m"] / memory["v"].sqrt().add_(self.tau)

    def frozen(self, d: Tensor, memory: Mapping[str, Tensor]) -> Tensor:
        return memory["m"].lerp(d, 1 - self.beta1).div_(memory["v"].sqrt().add_(self.tau))


class Adagrad(Adaptive):
    """v ← v + Δ²;  x ← x + η_s m/(√v + τ). The paper's experiments with it set beta1 to 0."""

    def accumulate(self, v: Tensor, d: Tensor) -> None:
        v.addcmul_(d, d)


class Adam(Adaptive):
    """v ← β₂v + (1 − β₂)Δ²;  x ← x + η_s m/(√v + τ)."""

    beta2: float = Field(0.99, ge=0, lt=1, description="β₂ of v")

    def accumulate(self, v: Tensor, d: Tensor) -> None:
        v.mul_(self.beta2).addcmul_(d, d, value=1 - self.beta2)


class Yogi(Adaptive):
    """v ← v − (1 − β₂)Δ² sign(v − Δ²);  x ← x + η_s m/(√v + τ)."""

    beta2: float = Field(0.99, ge=0, lt=1, description="β₂ of v")

    def accumulate(self, v: Tensor, d: Tensor) -> None:
        squared = d.square()
        v.addcmul_(squared, (v - squared).sign_(), value=self.beta2 - 1)
