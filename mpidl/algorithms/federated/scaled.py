"""Local SGD scaled by a diagonal: adaptive steps that stay the same on every agent between synchronisations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.federated.averaging import Averaging
from mpidl.algorithms.federated.scalings import Kind, Scaling, draw_signs

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.algorithms.base import Rows


class ScaledLocalSGD(Averaging):
    """Local methods with adaptivity by scaling [Chezhegov et al. 2024, Algorithm 1].

        y ← y − a D̂⁻¹ (∇F_i(y) + λ y);   D̂ = max(floor, |D|), the same on every agent and in every step of the round

    A round begins with the statistic H of every agent's first batch at x, from which D is refreshed:

        adam         D² ← β_t D² + (1 − β_t) H²,   H = |Σ_S p_i g_i|, β_t = (β − β^{t+1})/(1 − β^{t+1}), t from 0
        rmsprop      the same with β_t = β and D⁰ = 0
        oasis        D ← β D + (1 − β) H,          H = Σ_S p_i z⊙∇²F_i z [Hutchinson], z = ±1, the same everywhere
        adahessian   the rule of adam with this H

    adam's β_t is its bias correction: nothing is corrected again. oasis starts at its first sample, since from 0 it
    explodes. The steps then begin with that batch; its gradient is not taken twice. ∇²F_i is of the loss alone, without
    λ. With `scaling: local` each agent keeps a D of its own statistic: nothing more is sent, and the fixed point is
    biased. A momentum would sum scaled gradients.
    """

    class Settings(Averaging.Settings):
        preconditioner: Kind = Field("adam", description="what H is, and how D follows from it")
        scaling: Literal["global", "local"] = Field(
            "global", description="one D from the mean statistic, or each agent's own, whose fixed point is biased"
        )
        beta: float = Field(0.999, ge=0, lt=1, description="β, how slowly D forgets")
        floor: float | None = Field(
            None, gt=0, description="least D̂; null: 1e-8 for adam and rmsprop, 1e-3 for oasis and adahessian"
        )
        floor_inside: bool = Field(False, description="put D itself above the floor, not only what divides")

        @property
        def curvature(self) -> bool:
            """Whether H is the diagonal of a Hessian."""
            return self.preconditioner in ("oasis", "adahessian")

    settings: Settings
    plain_alone = False
    outlives = True

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        shared = settings.scaling == "global"
        floor = settings.floor or (1e-3 if settings.curvature else 1e-8)
        self._scaling = Scaling(settings.preconditioner, settings.beta, floor, settings.floor_inside)
        # D², or D itself for oasis: one for all, or the agents' own with how often each was refreshed.
        self._shared = self.state.server("scaling") if shared else None
        self._own = None if shared else self.state.lazy_rows("scalings")
        self._refreshes = None if shared else self.state.counts("refreshes", self.state.total)
        self._first, self._divisors = self.shelf(used=not settings.curvature), self.shelf(used=not shared)
        self._divisor, self._statistic, self._z = self.state.scratch(3, *self.x.shape)

    @classmethod
    def survey_rows(cls, settings: AlgorithmSettings) -> int:
        return int(isinstance(settings, ScaledLocalSGD.Settings) and settings.scaling == "global")

    @classmethod
    def rows_down(cls, settings: AlgorithmSettings) -> int:
        return cls.rows_up(settings)

    @classmethod
    def gradients(cls, settings: AlgorithmSettings) -> str:
        curvature = isinstance(settings, ScaledLocalSGD.Settings) and settings.curvature
        return super().gradients(settings) + (" and a Hessian product" if curvature else "")

    def round(self, x: Tensor) -> None:
        if self.settings.curvature:
            draw_signs(self.stream("signs", 0, self.t), self._z)
        super().round(x)
        if self._refreshes is not None:
            self._refreshes[list(self.crew.agents)] += 1
        self._first.clear()
        self._divisors.clear()

    def survey(self, agent: int, x: Tensor, out: Tensor) -> None:
        """The agent's part of H, on its first batch of the round."""
        first = self.steps(agent).start
        if self.settings.curvature:
            self.oracle.hessian_product(agent, x, first, self._z, out[0])
            out[0].mul_(self._z)
        else:
            self.gradients_at([agent], [x], [self._first[agent]], [first])
            out[0].copy_(self._first[agent])

    def prepare(self, x: Tensor) -> None:
        if self._shared is not None:
            self._scaling.refresh(self._shared, self.surveyed[0], self.t, self._divisor)

    def begin(self, agent: int, x: Tensor, y: Tensor) -> None:
        if self._own is not None and self._refreshes is not None:
            self.survey(agent, x, self._statistic[None])
            before = int(self._refreshes[agent])
            self._scaling.refresh(self._own[agent], self._statistic, before, self._divisors[agent])
        super().begin(agent, x, y)

    def step_gradients(self, agents: Sequence[int], rows: Rows, x: Tensor, out: Rows, steps: Sequence[int]) -> None:
        asked = []
        for place, (agent, step) in enumerate(zip(agents, steps, strict=True)):
            if agent in self._first and step == self.steps(agent).start:
                out[place].copy_(self._first[agent])
            else:
                asked.append(place)
        agents, steps = [agents[place] for place in asked], [steps[place] for place in asked]
        super().step_gradients(agents, [rows[place] for place in asked], x, [out[place] for place in asked], steps)

    def local_gradient(self, agent: int, y: Tensor, x: Tensor, g: Tensor, step: int) -> None:
        g.div_(self._divisor if self._shared is not None else self._divisors[agent])
