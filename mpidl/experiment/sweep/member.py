"""One run of a sweep, how far it has come, and what its ranks tell of it."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from mpidl.comm.start.presence import REPORT
from mpidl.experiment.schema import Config


class Standing(Enum):
    """How far a run has come; the value is what a person reads."""

    WAITING = "waiting"
    SUBMITTED = "submitted"
    HALF = "half done"
    RUNNING = "running"
    FINISHED = "finished"
    DIVERGED = "diverged"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_over(self) -> bool:
        """Whether it is not run again: a run that has diverged would do so again."""
        return self in (Standing.FINISHED, Standing.DIVERGED)

    @property
    def is_in_work(self) -> bool:
        """Whether somebody runs it, or will."""
        return self in (Standing.SUBMITTED, Standing.RUNNING)


VersionChange = tuple[str, str, str]
"""Of a package or a plug-in: its name, what it was, and what it is now."""


@dataclass(frozen=True)
class Member:
    """One run of a sweep: the keys that are its own, as they are written, and the file that it writes.

    `changed`: what was another version when it was run, if it is over.
    """

    number: int
    label: str
    config: Config
    output: Path
    ranks: int
    standing: Standing = Standing.WAITING
    changed: tuple[VersionChange, ...] = ()


@dataclass(frozen=True)
class Report:
    """What is known of a run at a moment; numbers are NaN where they are not measured.

    `sentence` says how it failed, and `code` is the exit code for that.
    """

    member: int
    standing: Standing
    round: int = 0
    rounds: int = 0
    accuracy: float = math.nan
    loss: float = math.nan
    seconds: float = math.nan
    sentence: str = ""
    code: int = 0

    def send(self) -> None:
        """Tells the process that has started the ranks; for one of them."""
        values = asdict(self) | {"standing": self.standing.name}
        sys.stdout.flush()
        # In one go, so that nothing comes between.
        os.write(sys.stdout.fileno(), REPORT + json.dumps(values).encode() + b"\n")

    @classmethod
    def received(cls, line: bytes) -> Report | None:
        """The report in a line, without what it begins with; None where something else has printed that."""
        try:
            values: dict[str, Any] = json.loads(line)
            return cls(**values | {"standing": Standing[values["standing"]]})
        except (ValueError, KeyError, TypeError):
            return None
