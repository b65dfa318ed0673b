"""SlowMo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from mpidl.algorithms.base import Context
from mpidl.algorithms.federated.local import Local, LocalSettings

if TYPE_CHECKING:
    from torch import Tensor


class SlowMo(Local):
    """Slow momentum around local steps [Wang et al. 2020b, Algorithm 1]. u starts at 0.

        ȳ = Σ_S p_i y_i;   u ← βu + (x − ȳ)/a;   x ← x − α_s a u        a the rate of the round; where it is 0, u stays

    β = 0 and α_s = 1 is local SGD. Whether agents keep their own momentum is `local_momentum`.
    """

    class Settings(LocalSettings):
        slow_momentum: float = Field(0.5, ge=0, lt=1, description="β in u = βu + (x − ȳ)/a")
        slow_lr: float = Field(1.0, gt=0, description="α_s, the slow learning rate")

    settings: Settings
    plain_alone = False
    outlives = True

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.u = self.state.server("slow momentum")

    def server(self, x: Tensor, total: Tensor) -> None:
        if self.lr:
            self.u.mul_(self.settings.slow_momentum).sub_(total[0], alpha=1 / self.lr)
            x.sub_(self.u, alpha=self.settings.slow_lr * self.lr)
