"""D² and exact diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.algorithms.direction import KeptDirection, MomentumSettings
from mpidl.graphs.validate import correction_warning

if TYPE_CHECKING:
    from torch import Tensor


class D2(Decentralized):
    """D² [Tang et al. 2018, Algorithm 1]: decentralized SGD without the error that unlike data leave.

        u = −η d(x);   x⁺ = mix(x + u + c);   c⁺ = x⁺ − x − u                                      c⁰ = 0

    For constant η this is x⁺ = W(2x − x⁻ − η(g − g⁻)), the published form. At the optimum c = ηd, so where the rate
    changes, c ← c·η_t/η_{t−1} first (not in the paper): without it a drop ×0.1 throws a converged run far away. After a
    round with η = 0 there is nothing to scale by, and c stays. The c of all agents sum to 0; those that are left when
    some are dropped begin at c = 0 again.

    Exact for static W of which every eigenvalue λ ≠ 1 has the roots of z² − 2λz + λ inside the unit circle (for
    symmetric W: λ > −1/3); other graphs are refused, and for those on the edge, such as even rings, mpidl warns.
    """

    class Settings(AlgorithmSettings, MomentumSettings):
        pass

    settings: Settings
    outlives = True
    lazy: ClassVar[bool] = False
    """Whether rounds mix with (I + W)/2."""

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._gamma = context.exchanges.gamma
        self.direction = KeptDirection(settings.rule, self.layout, self.state.rows)
        self.C = self.state.rows("correction")
        self.state.renew("correction")

    @classmethod
    def needs(cls, settings: AlgorithmSettings) -> tuple[str, ...]:
        return (*super().needs(settings), "static", "lazily correctable" if cls.lazy else "correctable")

    def warnings(self) -> tuple[str, ...]:
        warning = correction_warning(self.topology, self.settings.name, self._gamma, self.lazy)
        return (warning,) if warning else ()

    def round(self, X: Tensor) -> Tensor:
        before = self.lr_at(self.t - 1) if self.t else 0.0
        if before and before != self.lr:
            self.C.mul_(self.lr / before)
        X.sub_(self.direction(self.gradient(X), X, self.t, self.lr), alpha=self.lr)  # x + u
        X_new = self.mixed_with(X, self.C)
        self.C.copy_(X_new).sub_(X)
        return X_new

    def mixed_with(self, X: Tensor, C: Tensor) -> Tensor:
        """mix(X + C)."""
        return self.mix(self.draft().copy_(X).add_(C))


class ExactDiffusion(D2):
    """Exact diffusion [Yuan et al. 2019, Part I, Algorithm 1]: D² with W̄ = (I + W)/2, which no undirected graph breaks.

        u = −η d(x);   z = x + u + c;   x⁺ = (z + mix(z))/2;   c⁺ = x⁺ − x − u                     c⁰ = 0

    All else is as in `d2`, the change of c with the rate included. With symmetric W every eigenvalue of W̄ is at least
    0, so that no graph is refused, and it averages half as fast.
    """

    lazy = True

    def mixed_with(self, X: Tensor, C: Tensor) -> Tensor:
        return super().mixed_with(X, C).add_(X).add_(C).mul_(0.5)
