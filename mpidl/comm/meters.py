"""Where the seconds went, and every byte that was sent."""

from __future__ import annotations

from time import perf_counter

SECONDS = ("gradient", "mixing", "waiting", "packing", "reduction", "evaluation", "io")


class Timer:
    """What `Meters.time` returns: a context manager that costs less than a generator's, for it runs in every round."""

    __slots__ = ("_begin", "_name", "_seconds")

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._begin = perf_counter()

    def __exit__(self, *raised: object) -> None:
        self._seconds[self._name] += perf_counter() - self._begin


class Meters:
    """Seconds by name, and counters; both only grow.

    `bytes_sent` is what the algorithm's formula says, the same on any placement; `bytes_mpi` is what this rank handed
    to MPI, in `messages` messages, and `bytes_shared` what it read of its node's other ranks in shared memory.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(SECONDS, 0.0)
        self.bytes_sent = 0
        self.bytes_mpi = 0
        self.bytes_shared = 0
        self.messages = 0

    def time(self, name: str) -> Timer:
        """Adds the seconds spent inside to `name`, also when it raises."""
        return Timer(self.seconds, name)

    def handed_to_mpi(self, bytes: int, messages: int = 1) -> None:
        self.bytes_mpi += bytes
        self.messages += messages
