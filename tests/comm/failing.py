"""A rank that fails as told on its command line: what test_failures.py launches."""

from __future__ import annotations

import sys
import time

from mpidl.comm.start.failures import guard
from mpidl.errors import CommunicationError, ConfigError, DivergenceError


def main(how: str) -> None:
    if how == "before MPI, all":
        raise ConfigError("is wrong", "some.key")
    # Without torch, a rank starts in a fraction of the time.
    from mpi4py import MPI

    MPI.Init_thread(MPI.THREAD_MULTIPLE)
    comm = MPI.COMM_WORLD
    comm.Barrier()
    if how == "one" and comm.rank == 1:
        raise DivergenceError("agent 1 diverged")
    if how == "a mistake" and comm.rank == 1:
        _ = [][1]
    if how == "all":
        raise ConfigError("is wrong\non two lines", "some.key")
    if how == "a consequence":
        if comm.rank == 2:
            raise DivergenceError("the cause")
        time.sleep(0.3)
        if comm.rank == 0:
            raise CommunicationError("a consequence")
    if how == "exit" and comm.rank == 1:
        sys.exit(0)
    if how == "leave" and comm.rank == 1:
        raise GeneratorExit
    comm.recv()


with guard():
    main(sys.argv[1])
