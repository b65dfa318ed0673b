"""Work that goes on in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Task(threading.Thread, Generic[Result]):
    """Work in a thread of its own, or done at once; what it raises is raised where its result is asked for."""

    def __init__(self, work: Callable[[], Result], apart: bool) -> None:
        # An end of the run that was not planned does not wait for it.
        super().__init__(daemon=True)
        self._work = work
        self._result: Result | None = None
        self._error: Exception | None = None
        self._over = threading.Event()
        if apart:
            self.start()
        else:
            self.run()

    def run(self) -> None:
        try:
            self._result = self._work()
        except Exception as error:
            self._error = error
        finally:
            self._over.set()

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def wait(self, seconds: float | None = None) -> None:
        """Until it is over, or so long."""
        self._over.wait(seconds)

    def outcome(self) -> Result:
        """What it returned, once it has."""
        self._over.wait()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # it is over, and raised nothing
