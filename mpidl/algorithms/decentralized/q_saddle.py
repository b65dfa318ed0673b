"""SADDLe on quasi-global momentum."""

from __future__ import annotations

from pydantic import Field

from mpidl.algorithms.decentralized.qgm import QGM
from mpidl.algorithms.sharpness import SharpnessAware, SharpnessSettings


class QSaddle(SharpnessAware, QGM):
    """Q-SADDLe [Choudhary, Aketi and Roy 2024]: quasi-global momentum along SAM's gradients, for flatter minima.

        s = ∇F_i(x; B);   e = ρ s/(‖s‖₂ + 1e-12);   g = clip(∇F_i(x + e; B)) + λx
        m = μ m̂ + g;   d = g + μm (Nesterov) or m
        x⁺ = mix(x − ηd);   m̂⁺ = μ̂ m̂ + (1 − μ̂)(x − x⁺)/η

    Rebuilt from its parts, SAM [Foret et al. 2021] and `qgm`, since the body of the paper could not be read: one norm
    over all parameters, the same mini-batch twice, no decay in s. Find ρ by a sweep from 0.01 to 0.2; ρ = 0 is `qgm`.
    """

    class Settings(QGM.Settings, SharpnessSettings):
        rho: float = Field(0.05, ge=0, description="ρ, how far SAM looks uphill for its gradient; 0: plain gradients")

    settings: Settings
