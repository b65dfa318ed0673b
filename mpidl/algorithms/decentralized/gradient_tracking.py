"""Gradient tracking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mpidl.algorithms.base import AlgorithmSettings, Context
from mpidl.algorithms.decentralized.base import Decentralized

if TYPE_CHECKING:
    from torch import Tensor


class GradientTracking(Decentralized):
    """Gradient tracking (DSGT) [Di Lorenzo and Scutari 2016; DIGing: Nedić, Olshevsky and Shi 2017; Pu and Nedić 2021].

    Each agent tracks the mean gradient by y, and steps along it. With g = ∇F_i(x) + λx and y⁻¹ = g⁻¹ = 0, by `order`:

        diging               y⁺ = mix(y) + g − g⁻;     x⁺ = mix(x) − ηy⁺
        adapt-then-combine   y⁺ = mix(y + g − g⁻);     x⁺ = mix(x − ηy⁺)

    Σ_i y_i = Σ_i g_i in every round, and the optimum of unlike agents is reached exactly. A round begins with its
    gradient: the usual form (x first, then g at x⁺) has the same iterates in the first order, but needs the batch of
    the round after. In the first order both messages can travel while the gradient is computed. Without agents that
    are dropped the sums would differ for ever, so that y and g⁻ begin at 0 again.
    """

    class Settings(AlgorithmSettings):
        order: Literal["diging", "adapt-then-combine"] = Field(
            "diging", description="whether tracker and parameters change after mixing or before it"
        )

    settings: Settings
    mixed = ("parameters", "tracker")
    in_place = ("parameters", "tracker")
    outlives = True

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.last = self.state.rows("last gradient")
        self.state.renew("tracker", "last gradient")

    def round(self, X: Tensor) -> Tensor:
        Y = self.present["tracker"]
        if self.settings.order == "diging":
            self.send(X)
            self.send(Y, "tracker")
            G = self.gradient(X)
            X, Y = self.receive(), self.receive("tracker")
            return X.sub_(self._changed(Y, G), alpha=self.lr)
        Y = self.mix(self._changed(Y, self.gradient(X)), "tracker")
        return self.mix(X.sub_(Y, alpha=self.lr))

    def _changed(self, Y: Tensor, G: Tensor) -> Tensor:
        """Y + G − G⁻, in place; G is the last gradient from here on."""
        Y.add_(G).sub_(self.last)
        self.last.copy_(G)
        return Y
