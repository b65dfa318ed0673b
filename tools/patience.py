"""How long to wait for processes on a machine that others use, too: the time counts that these had, not the clock's."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

# Between two looks more time than this has not passed for anybody: who looks was stopped, or got no processor.
_LONGEST = 0.5


class Patience:
    """So many seconds, of which those do not count in which a thread of theirs waited for a processor."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.ran, self.waited = 0.0, 0.0
        """Processor time of all threads seen so far, and the time they were ready to run and did not."""
        self._last = time.monotonic()
        self._threads: dict[Path, tuple[int, int]] = {}

    def over(self, processes: Iterable[int]) -> bool:
        """Takes account of what has passed since it was called last; to be called a few times in a second."""
        now = time.monotonic()
        passed, longest = min(now - self._last, _LONGEST), 0.0
        self._last = now
        for thread in (path for process in processes for path in Path(f"/proc/{process}/task").glob("*/schedstat")):
            try:
                ran, waited, _ = map(int, thread.read_text().split())
            except OSError:
                continue
            ran_before, waited_before = self._threads.get(thread, (0, 0))
            self._threads[thread] = ran, waited
            self.ran += (ran - ran_before) / 1e9
            self.waited += (waited - waited_before) / 1e9
            longest = max(longest, (waited - waited_before) / 1e9)
        self.seconds -= max(0.0, passed - longest)
        return self.seconds < 0

    @property
    def starved(self) -> bool:
        """Whether they waited for processors longer than they had them."""
        return self.waited > self.ran
