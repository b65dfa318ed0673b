"""What studies of a run share: what can be chosen, and how their findings are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from mpidl.analysis.subject import Moment, Subject
from mpidl.results.findings import Finding


@dataclass(frozen=True)
class Choices:
    """What can be chosen; see the functions that it is for."""

    round: int | str | None = None
    eigenvalues: int = 5
    steps: int = 80
    tolerance: float = 1e-4
    probes: int = 16
    rho: float | None = None
    """SAM's; None: that of the run, or 0.05."""
    draws: int = 32
    rounds: int = 20
    """Of a trajectory that is kept, at most so many."""
    points: int = 15
    agents: tuple[int, int, int] | None = None
    """That span the plane; None: three that are far apart."""
    seed: int = 0


@dataclass(frozen=True)
class End:
    """A model at the end of a line, and what a person calls it."""

    label: str
    row: Tensor


def settings_of(subject: Subject, moment: Moment, choices: Choices, **more: Any) -> dict[str, Any]:
    """What a person must know to read the findings."""
    return {
        "run": subject.config.name,
        "round": moment.round,
        "model": moment.name,
        "agents_of_run": subject.agents,
        "examples": subject.train_examples,
        "draws": choices.draws,
        "seed": choices.seed,
        **more,
    }


def number(name: str, value: float, description: str, units: str = "1") -> Finding:
    return Finding(name, np.array(float(value)), units, description)
