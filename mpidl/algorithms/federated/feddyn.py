"""FedDyn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from mpidl.algorithms.base import Context
from mpidl.algorithms.federated.fedavg import FedAvg
from mpidl.errors import ConfigError
from mpidl.metrics import Metric

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.algorithms.base import Rows


class FedDyn(FedAvg):
    """Dynamic regularization [Acar et al. 2021, Algorithm 1]. h and all ĝ_i start at 0.

        α_i = α/w_i, w_i = n_i N/Σ n, or α with `weighting: uniform`;  K steps or E passes of
        y ← y − a direction(∇F_i(y) + λ y − ĝ_i + α_i (y − x));        ĝ_i ← ĝ_i − α_i (y_i − x)
        h ← h − Σ_S α (y_i − x)/N;        x ← mean_S y_i − h/α

    It reaches the minimum of Σ n_i F_i (Σ F_i where uniform), whoever takes part. The paper's h lacks parentheses: x is
    inside the sum. The mean over S has equal weights whatever the sizes. The authors' code is the same with
    λ_i = −ĝ_i/α_i; it clips ∇F_i(y) − ĝ_i − α_i x together, which `clip: official` does as well. Another server than
    `{name: sgd, lr: 1}` moves by mean_S y_i − h/α − x, with the same fixed point. α → 0 is not fedavg. As h speaks of
    all agents, h and all ĝ_i begin at 0 again when some are dropped.

    Models: `all`, the mean of every agent's last model (x⁰ where it never took part), which the authors' curves show;
    `sampled`, mean_S y_i; and `server`. Every agent that took part keeps a row, and one more where `all` is evaluated,
    which then reads N rows.
    """

    class Settings(FedAvg.Settings):
        weight_decay: float = Field(1e-3, ge=0, description="λ of the regularizer (λ/2)‖y‖² of every agent")
        local_epochs: PositiveInt | None = Field(5, description="E, passes of an agent over its data in a round")
        alpha: float = Field(0.01, gt=0, description="α, how strongly agents are held near the server's model")
        clip: Literal["gradient", "official"] = Field(
            "gradient", description="what clip_norm shortens: ∇F_i(y), or as the authors' code ∇F_i(y) − ĝ_i − α_i x"
        )

        @model_validator(mode="after")
        def _clips_something_and_sends_whole_rows(self) -> Self:
            if self.clip == "official" and self.clip_norm is None:
                raise ConfigError("'official' says what is clipped, not to which norm: give clip_norm", "clip")
            if self.upload.compressor is not None:
                raise ConfigError("h follows from whole rows, so feddyn's are not compressed", "upload.compressor")
            return self

    settings: Settings
    models: ClassVar[tuple[str, ...]] = ("all", "sampled", "server")
    metrics = (*FedAvg.metrics, Metric("h_norm", "1", "norm of FedDyn's h"))
    plain_alone = False

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.g = self.state.lazy_rows("gradient corrections")
        self.h = self.state.server("h")
        self.state.renew("gradient corrections", "h")
        self.sampled = self.state.server("mean of sampled")
        self.sampled.copy_(self.x)
        self.last = self.state.lazy_rows("last models", context.initial[0]) if "all" in context.models else None
        shares = self.weights(settings.weighting, context.everyone)
        count = len(shares)
        self._alphas = {agent: settings.alpha / (p * count) for agent, p in zip(context.everyone, shares, strict=True)}
        self._start = context.initial[0]

    def weights_of(self, agents: Sequence[int]) -> list[float]:
        return self.weights("uniform", agents)

    def step_gradients(self, agents: Sequence[int], rows: Rows, x: Tensor, out: Rows, steps: Sequence[int]) -> None:
        if self.settings.clip == "gradient":
            super().step_gradients(agents, rows, x, out, steps)
            return
        self.loss_gradients(agents, rows, out, steps)
        for agent, g in zip(agents, out, strict=True):
            g.sub_(self.g[agent]).sub_(x, alpha=self._alphas[agent])
        self.clip(out)
        self.decay(out, rows)

    def local_gradient(self, agent: int, y: Tensor, x: Tensor, g: Tensor, step: int) -> None:
        alpha = self._alphas[agent]
        g.add_(y, alpha=alpha)
        if self.settings.clip == "gradient":
            g.sub_(x, alpha=alpha).sub_(self.g[agent])

    def upload(self, agent: int, y: Tensor, x: Tensor, out: Tensor) -> None:
        super().upload(agent, y, x, out)
        self.g[agent].sub_(out[0], alpha=self._alphas[agent])
        if self.last is not None:
            self.last[agent].copy_(y)

    def server(self, x: Tensor, total: Tensor) -> None:
        alpha, part = self.settings.alpha, len(self.crew.agents) / len(self.everyone)
        displacement = total[0]
        self.sampled.copy_(x).add_(displacement)
        self.h.sub_(displacement, alpha=alpha * part)
        self.move(x, displacement.sub_(self.h, alpha=1 / alpha))

    def model(self, name: str) -> Tensor:
        if name == "all":
            runners = [self._runner[agent] for agent in self.everyone]
            return self.measuring.sum(self._last_models(runners), len(runners), runners).div_(len(runners))
        return self.sampled if name == "sampled" else self.x

    def _last_models(self, runners: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        if self.last is None:
            raise ConfigError("'all' is not there, since nobody has asked for it", "evaluate.models")
        for position, (agent, runner) in enumerate(zip(self.everyone, runners, strict=True)):
            if runner == self._ranks.rank:
                yield position, self.last.peek(agent, self._start)

    def server_diagnostics(self) -> dict[str, float]:
        return super().server_diagnostics() | {"h_norm": float(self.h.norm())}
