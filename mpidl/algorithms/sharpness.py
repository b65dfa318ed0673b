"""Sharpness-aware gradients, a part that any algorithm can have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from mpidl.algorithms.base import Algorithm, AlgorithmSettings, Context

if TYPE_CHECKING:
    from mpidl.algorithms.base import Rows

TINY = 1e-12


class SharpnessSettings(AlgorithmSettings):
    """Keys of algorithms that can take SAM's gradient."""

    rho: float = Field(0.0, ge=0, description="ρ, how far SAM looks uphill for its gradient; 0: plain gradients")


class SharpnessAware(Algorithm):
    """SAM [Foret et al. 2021, eq. 2–3]: every gradient is taken at the worst point near by, on the same mini-batch.

        s = ∇F_i(x; B);   e = ρ s/(‖s‖₂ + 1e-12);   g = clip(∇F_i(x + e; B)) + λx

    s is raw, without clipping and decay, and its norm goes over all parameters of one agent. x + e stands in scratch,
    so that x keeps its bits. With ρ = 0 nothing differs from the algorithm without it, and no gradient is added.
    Inherited before the algorithm, `class Mine(SharpnessAware, DSGD)`, whose settings inherit `SharpnessSettings`.
    """

    settings: SharpnessSettings

    def __init__(self, settings: SharpnessSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._rho = settings.rho
        # No more than are asked for at once: agents that take their gradients one by one share a row.
        self._perturbed = self.state.scratch(context.together, self.layout.size) if self._rho else None

    @classmethod
    def gradients(cls, settings: AlgorithmSettings) -> str:
        plain = super().gradients(settings)
        if not (isinstance(settings, SharpnessSettings) and settings.rho):
            return plain
        return "2" if plain == "1" else f"2 * ({plain})"

    def clipped_gradients(
        self, agents: Sequence[int], rows: Rows, out: Rows, steps: Sequence[int] | None = None
    ) -> None:
        if self._perturbed is None:
            super().clipped_gradients(agents, rows, out, steps)
            return
        together = len(self._perturbed)
        for begin in range(0, len(agents), together):
            some = slice(begin, begin + together)
            whose, S, batches = agents[some], out[some], None if steps is None else steps[some]
            P = self._perturbed[: len(whose)]
            self.loss_gradients(whose, rows[some], S, batches)
            for p, s, x in zip(P, S, rows[some], strict=True):
                p.copy_(s).mul_(self._rho / (s.norm() + TINY)).add_(x)
            self.loss_gradients(whose, P, S, batches)
            self.clip(S)
