"""GradAlign."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mpidl.algorithms.base import Context
from mpidl.algorithms.direction import DirectionSettings, KeptDirection
from mpidl.algorithms.federated.participation import ParticipationSettings, Sampled

if TYPE_CHECKING:
    from torch import Tensor


class GradAlign(Sampled):
    """Gradient alignment [Dandi, Barba, Jaggi 2022, Section 4].

        g_i = ∇F_i(x; B_i);   ḡ = Σ_S p_i g_i;   x ← x − η direction(Σ_S p_i ∇F_i(x + β (g_i − ḡ); B_i))

    The same batch serves both gradients. The sum is the gradient of f + (β/2) T up to O(β²), T = Σ_S p_i ‖g_i − ḡ‖²,
    and exactly that on quadratics. With β = η/2 it has the implicit regularizer of one pass of sequential SGD over the
    agents. β = 0 is csgd. One set of weights serves both sums: the authors' code mixes two and moves the fixed point.
    """

    class Settings(ParticipationSettings, DirectionSettings):
        beta: float | None = Field(None, ge=0, description="displacement β; null: half of the current learning rate")

    settings: Settings
    gradient_formula: ClassVar[str] = "2"
    uploads = downloads = 2
    outlives = True

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.direction = KeptDirection(settings.rule, self.layout, self.state.server)
        self.g = self.shelf()
        self._mean, self._total = self.dense(2)
        self._together = context.together
        self.Y = self.state.scratch(context.together, *self.x.shape)
        self.G = self.yielded(1) if context.together == 1 else self.state.scratch(*self.Y.shape)

    def round(self, x: Tensor) -> None:
        beta = self.lr / 2 if self.settings.beta is None else self.settings.beta
        mean = self.sum_rows(self._gradients(x), self._mean)
        g = self.sum_rows(self._displaced(x, mean, beta), self._total)
        x.sub_(self.direction(g, x, self.t, self.lr), alpha=self.lr)
        self.g.clear()

    def _groups(self) -> Iterator[tuple[list[int], list[int]]]:
        """Positions and agents that this rank runs, as many at a time as are worth it."""
        mine = self.mine
        for first in range(0, len(mine), self._together):
            group = mine[first : first + self._together]
            yield group, [self.crew.agents[position] for position in group]

    def _gradients(self, x: Tensor) -> Iterator[tuple[int, Tensor]]:
        """p_i g_i; the g_i themselves stay on the shelf."""
        for group, agents in self._groups():
            rows = [self.g[agent] for agent in agents]
            self.gradients_at(agents, [x] * len(agents), rows)
            for position, g in zip(group, rows, strict=True):
                yield position, self.G[0].copy_(g).mul_(self.crew.weights[position])

    def _displaced(self, x: Tensor, mean: Tensor, beta: float) -> Iterator[tuple[int, Tensor]]:
        for group, agents in self._groups():
            Y, G = self.Y[: len(agents)], self.G[: len(agents)]
            for agent, y in zip(agents, Y, strict=True):
                y.copy_(self.g[agent]).sub_(mean).mul_(beta).add_(x)
            self.gradients_at(agents, Y, G)
            for position, g in zip(group, G, strict=True):
                yield position, g.mul_(self.crew.weights[position])
