"""Learning-rate schedules: a factor on the learning rate for every round."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal, Self

from pydantic import Field, model_validator

from mpidl.config import Duration, Rounds
from mpidl.errors import ConfigError
from mpidl.registry import Part

_NONE = Duration(amount=0, unit="rounds")


class Schedule(Part):
    """A factor f(t) on the learning rate; during warm-up it is also multiplied by a ramp from w to 1.

    `warmup_form: line` is w + (1 − w)·t/warmup; `floor` is max(w, t/warmup) [the code of Zhu et al. 2023], which stays
    at w until the straight line from 0 has reached it: with w = 0.1 up to 0.09 below the other.
    """

    warmup: Rounds = Field(_NONE, description="length of the linear warm-up")
    warmup_from: float = Field(0.1, ge=0, le=1, description="the share w of the rate that warm-up starts from")
    warmup_form: Literal["line", "floor"] = Field(
        "line", description="line: straight from w to 1; floor: max(w, t/warmup), straight from 0 but never below w"
    )

    def at(self, t: int, rounds_per_epoch: float, total: int) -> float:
        """The factor of round t (from 0) in a run of `total` rounds."""
        warmup = self.warmup.rounds(rounds_per_epoch, total)
        return (self._ramp(t / warmup) if t < warmup else 1.0) * self.shape(t, rounds_per_epoch, total)

    def follows_length(self, rounds: int) -> bool:
        """Whether the first so many rounds have other factors in a longer run; by a thousand of them."""
        longer = 2 * rounds
        return any(self.at(t, 1.0, rounds) != self.at(t, 1.0, longer) for t in range(0, rounds, max(1, rounds // 1000)))

    def _ramp(self, elapsed: float) -> float:
        """The factor after this share of the warm-up."""
        if self.warmup_form == "floor":
            return max(self.warmup_from, elapsed)
        return self.warmup_from + (1 - self.warmup_from) * elapsed

    @abstractmethod
    def shape(self, t: int, rounds_per_epoch: float, total: int) -> float:
        """The factor without warm-up."""


class Constant(Schedule):
    """The learning rate stays."""

    def shape(self, t: int, rounds_per_epoch: float, total: int) -> float:
        return 1.0


class Step(Schedule):
    """The rate is multiplied by `factor` at each milestone."""

    milestones: tuple[Rounds, ...] = Field(description="when, in rounds, epochs or fractions of the run; ascending")
    factor: float = Field(0.1, gt=0, description="multiplier at each milestone")

    def shape(self, t: int, rounds_per_epoch: float, total: int) -> float:
        passed = sum(t >= milestone.rounds(rounds_per_epoch, total) for milestone in self.milestones)
        return self.factor**passed

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for before, after in zip(self.milestones, self.milestones[1:], strict=False):
            if before.unit == after.unit and before.amount >= after.amount:
                raise ConfigError(f"{after} does not come after {before}", "milestones")
        return self


class Cosine(Schedule):
    """Half a cosine from 1 down to `final` over the run."""

    final: float = Field(0.0, ge=0, le=1, description="the factor that is approached at the end")

    def shape(self, t: int, rounds_per_epoch: float, total: int) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * t / total)) / 2


class Linear(Schedule):
    """A straight line from 1 down to `final` over the run."""

    final: float = Field(0.0, ge=0, le=1, description="the factor that is approached at the end")

    def shape(self, t: int, rounds_per_epoch: float, total: int) -> float:
        return 1 + (self.final - 1) * t / total
