"""Which examples belong to which agent: what a split returns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np


class Shares(list[np.ndarray]):
    """The indices of each agent's training examples, ascending; no index stands twice.

    `validation` holds the indices set aside, and `warnings` says in sentences what could not be done as asked.
    """

    def __init__(
        self, shares: Iterable[np.ndarray], validation: np.ndarray | None = None, warnings: Iterable[str] = ()
    ) -> None:
        super().__init__(shares)
        self.validation = np.empty(0, np.int64) if validation is None else validation
        self.warnings = list(warnings)

    @property
    def sizes(self) -> np.ndarray:
        """Examples of each agent."""
        return np.array([len(share) for share in self], dtype=np.int64)

    def class_counts(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Examples of each class with each agent, `[agents, classes]`."""
        return np.array([np.bincount(labels[share], minlength=classes) for share in self])


def batches_per_pass(examples: int, batch: int | Literal["full"]) -> int:
    """Batches in one pass over so many examples; the last may be short."""
    return 1 if batch == "full" else -(-examples // batch)
