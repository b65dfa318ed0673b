"""What is drawn of runs that differ in their seed alone: the mean of a metric over them, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpidl.analysis.readings import metric_of
from mpidl.results import Run

# Of larger numbers, margins and ticks overflow.
LARGEST = 1e150


@dataclass(frozen=True)
class MeanCurve:
    """A metric along an axis, `[record]`: mean over runs, and standard deviation (that of a sample; 0 of one run)."""

    across: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    runs: int

    @property
    def low(self) -> np.ndarray:
        """Where the band of one deviation begins."""
        return self.mean - self.deviation

    @property
    def high(self) -> np.ndarray:
        """Where the band of one deviation ends."""
        return self.mean + self.deviation


def of_runs(runs: Sequence[Run], metric: str, axis: str) -> MeanCurve:
    """A metric of runs of one kind; `test_loss` stands for that of each run's consensus or server model.

    Runs are averaged in the rounds that all of them have measured: where one of them ends, or diverges, so does their
    mean, for that of the others would be one of a selection. The axis is averaged as well.
    """
    parts = [points(run, metric, axis) for run in runs]
    # Of a round that was recorded twice, the later record.
    rows = [{round: row for row, round in enumerate(rounds.tolist())} for rounds, _, _ in parts]
    shared = [round for round in rows[0] if all(round in other for other in rows[1:])]
    chosen = [[of[round] for round in shared] for of in rows]
    across = np.array([each[1][row] for each, row in zip(parts, chosen, strict=True)])
    values = np.array([each[2][row] for each, row in zip(parts, chosen, strict=True)])
    deviation = values.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(values.shape[1])
    return MeanCurve(across.mean(axis=0), values.mean(axis=0), deviation, len(runs))


def points(run: Run, metric: str, axis: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rounds, axis and values of a metric as far as they can be drawn; none where the run has none."""
    name = metric_of(run, metric)
    if name not in run.metrics:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    across, values = run.metrics[axis].astype(float), run.curve(name)
    known = (np.abs(across) < LARGEST) & (np.abs(values) < LARGEST)
    return run.metrics["round"][known], across[known], values[known]
