"""The section `failures:` of a configuration. No MPI here: it is read before that starts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt

from mpidl.config import Seconds, Strict


class FailureSettings(Strict):
    """What becomes of a run when one of its ranks dies."""

    policy: Literal["auto", "adopt", "drop", "abort"] = Field(
        "auto",
        description="adopt: the others run its agents, from the newest checkpoint; drop: they go on without those, "
        "from the newest round of which all have a copy (checkpoint.memory, by default each); abort: the run ends; "
        "auto: adopt where MPI can go on (Open MPI 5), else abort",
    )
    max: NonNegativeInt = Field(3, description="how many ranks may die; with one more, the run ends")
    timeout: Seconds | None = Field(
        600.0,
        gt=0,
        description="how long a rank may be silent, as 10 min, since its process or host is frozen; then it is named, "
        "and counts as dead where it can be ended, else the run ends; null: for ever",
    )

    @property
    def outliving(self) -> bool:
        """Whether ranks are to go on where they can."""
        return self.policy != "abort" and self.max > 0

    @property
    def dropping(self) -> bool:
        """Whether the others go on without the agents of a rank that has died."""
        return self.policy == "drop"
