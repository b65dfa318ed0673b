"""The areas of the check-up, in the order in which they need each other; each is added by one line below."""

from __future__ import annotations

from mpidl.errors import ExitCode
from mpidl.selftest.area import Area
from mpidl.selftest.sums import graph, reduction
from mpidl.selftest.trainings import checkpoint, determinism, output
from mpidl.selftest.transport import gpu, messages, mpi, shared_memory

AREAS = (
    Area("MPI", mpi, ExitCode.COMMUNICATION),
    Area("messages", messages, ExitCode.COMMUNICATION, needs=("MPI",)),
    Area("shared memory", shared_memory, ExitCode.COMMUNICATION, needs=("MPI",)),
    Area("reduction", reduction, ExitCode.COMMUNICATION, needs=("MPI",)),
    Area("graph", graph, ExitCode.COMMUNICATION, needs=("MPI",)),
    Area("GPU", gpu, ExitCode.USAGE, needs=("MPI",)),
    Area("output", output, ExitCode.NOT_SAVED),
    Area("checkpoint", checkpoint, ExitCode.NOT_SAVED, needs=("MPI", "output")),
    Area("determinism", determinism, ExitCode.INTERNAL, needs=("MPI", "output")),
)
