"""Where the seconds went, and every byte that was sent."""

from __future__ import annotations

from time import perf_counter

from mpidl.metrics import Metric

SECONDS = (
    Metric("gradient", "s", "computing gradients"),
    Metric("mixing", "s", "arithmetic of gossip"),
    Metric("waiting", "s", "waiting for messages"),
    Metric("packing", "s", "compressing, casting and copying messages"),
    Metric("reduction", "s", "sums over all agents"),
    Metric("evaluation", "s", "evaluating models"),
    Metric("io", "s", "reading and writing files"),
    Metric("checkpoint", "s", "copying the state for checkpoints and to other ranks, and waiting for those before"),
)

COUNTERS = (
    Metric("bytes_sent", "bytes", "packed bytes of the messages of the rank's agents, by the algorithm's formula"),
    Metric("bytes_mpi", "bytes", "bytes of the algorithm that were handed to MPI"),
    Metric("bytes_shared", "bytes", "bytes read from the memory of other ranks"),
    Metric("messages", "1", "messages handed to MPI"),
)

# By the meters of `World`, which count what the run's own do not.
BYTES_OTHER = Metric(
    "bytes_other",
    "bytes",
    "bytes handed to MPI for what no formula counts: measurements, snapshots, copies of states, agents that move",
)

METERS = (*SECONDS, *COUNTERS, BYTES_OTHER)


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
        self.seconds = {meter.name: 0.0 for meter in SECONDS}
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

    def read(self) -> dict[str, float]:
        """Every meter by its name, as it stands now."""
        return self.seconds | {meter.name: getattr(self, meter.name) for meter in COUNTERS}
