"""What ranks tell each other beside the rounds, so that all of them do the same thing after the same round."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mpidl.comm.world import PendingSum, World

# Between two of them, or a round where that takes longer: seldom enough to cost nothing, often enough for a person.
_SECONDS = 0.2


class Consultation:
    """Whole numbers summed over all ranks: asked for after one round, and known after the next, to all ranks at once.

    So nobody waits for a rank that is less than a round behind. How many rounds lie between two follows from how long
    they took on all ranks, so that it is the same on all.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._under_way: PendingSum | None = None
        self._distance, self._began, self._covered, self._last = 1, 0, 1, time.perf_counter()

    def after_round(self, done: int, numbers: Callable[[], Sequence[int]]) -> list[int] | None:
        """What was summed, if it becomes known after this round. A collective call."""
        known = None
        if self._under_way is not None:
            *known, microseconds = self._under_way.finish().tolist()
            self._under_way = None
            of_a_round = max(1.0, microseconds / (self._world.size * self._covered))
            self._distance = max(1, min(2 * self._distance, int(1e6 * _SECONDS / of_a_round)))
        if done >= self._began + self._distance:
            self._covered, self._began = (done - self._began if self._began else 1), done
            now = time.perf_counter()
            elapsed, self._last = int(1e6 * (now - self._last)), now
            self._under_way = self._world.start_sum(np.array([*numbers(), elapsed], dtype=np.int64))
        return known

    def close(self) -> None:
        """Finishes what is under way. A collective call."""
        if self._under_way is not None:
            self._under_way.finish()
            self._under_way = None
