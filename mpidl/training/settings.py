"""The section `checkpoint:` of a configuration. No MPI here: it is read before that starts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, field_validator

from mpidl.config import Duration, Rounds, Strict
from mpidl.errors import ConfigError


class CheckpointSettings(Strict):
    """What a run keeps of its state, and of its models."""

    every: Rounds | None = Field(
        None,
        description="how often there is a checkpoint, written while training goes on from a copy of the state, and "
        "after the last round; null: only before a run stops because it is asked to",
    )
    memory: Rounds | None = Field(
        None,
        description="how often two ranks keep a copy of each rank's state in memory, from which the others go on when "
        "one dies; null: never. With failures.policy drop, how often each rank keeps one of its own; null: every round",
    )
    keep: PositiveInt = Field(2, description="how many checkpoints are kept, the newest ones")
    signal: Literal["USR1", "USR2"] = Field("USR2", description="the signal that asks a rank to stop")
    final: bool | Literal["all"] = Field(
        True,
        description="whether the run file keeps the models of the last round: true: what all agents or the server "
        "hold, and agents' own up to 256 MiB in all; all: agents' own, whatever they take",
    )
    best: str | None = Field(
        None,
        description="a loss or accuracy, as in the run file; the models are kept that were the best by it, and beside "
        "the newest checkpoints the best of them, where its round was recorded",
    )
    snapshots: Rounds | None = Field(
        None, description="how often the run file keeps the evaluated models, and after the last round; null: never"
    )

    @field_validator("every", "memory", "snapshots")
    @classmethod
    def _some_time(cls, value: Duration | None) -> Duration | None:
        if value is not None and not value.amount:
            raise ConfigError("0 is no distance between two of them; give 1 for every round, or null for none")
        return value
