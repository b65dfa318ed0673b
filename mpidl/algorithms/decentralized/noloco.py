"""NoLoCo: an outer momentum around gossip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, PositiveInt

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.algorithms.direction import KeptDirection
from mpidl.algorithms.directions import DIRECTIONS, Direction
from mpidl.algorithms.directions.adaptive import Adam

if TYPE_CHECKING:
    from torch import Tensor


class NoLoCo(Decentralized):
    """NoLoCo [Kolehmainen et al. 2025]: local steps, then a momentum step towards what neighbours have come to.

        y = x;   H times y ← y − η direction(∇F_i(y))
        m⁺ = βm + α(mix(y) − x);   x⁺ = x + m⁺                                                     m⁰ = 0

    For a pair with mean x̄ and mean displacement Δ̄, mix(y) − x = Δ̄ + (x̄ − x), which is the published step, in the form
    of the authors' code; here it goes over any graph and any scheme. Published with random pairs
    (`graph: one-peer-matching`), H 50 and Adam at 6e-4. With α = 1, β = 0 and the same direction it is `dsgd` with
    local steps. Agents keep the state of their direction. Round t steps along batches tH, …, tH + H − 1.
    """

    class Settings(AlgorithmSettings):
        lr: float = Field(6e-4, ge=0, description="learning rate η of the local steps; the schedule multiplies it")
        direction: Annotated[Direction, DIRECTIONS] = Field(
            Adam(name="adam"), description="of the local steps: a name, or a mapping with its settings"
        )
        local_steps: PositiveInt = Field(50, description="H, steps between two mixings")
        alpha: float = Field(0.7, gt=0, description="α, the outer step towards the mixed rows")
        beta: float = Field(0.5, ge=0, lt=1, description="β, the outer momentum")

        def rounds_per_epoch(self, steps_per_epoch: int) -> float:
            return steps_per_epoch / self.local_steps

    settings: Settings
    plain_alone = False
    outlives = True
    gradient_formula: ClassVar[str] = "H"

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.direction = KeptDirection(settings.direction, self.layout, self.state.rows)
        self.m = self.state.rows("outer momentum")

    def round(self, X: Tensor) -> Tensor:
        H, Y = self.settings.local_steps, self.draft().copy_(X)
        for step in range(self.t * H, self.t * H + H):
            Y.sub_(self.direction(self.gradient(Y, step), Y, step, self.lr), alpha=self.lr)
        mixed = self.mix(Y)
        self.m.mul_(self.settings.beta).add_(mixed.sub_(X), alpha=self.settings.alpha)
        return mixed.copy_(X).add_(self.m)
