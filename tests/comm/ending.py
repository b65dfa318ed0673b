"""Ranks that wait for each other inside MPI while the first has a file that says how it ended; rank 1 does as told.

mpirun -n 3 python -m tests.comm.ending HOW RUN.h5
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from mpidl.comm.start import sentinel, watchdog
from mpidl.comm.start.failures import guard
from mpidl.errors import DivergenceError
from mpidl.results.run_file import RunFile


def main(how: str, path: Path) -> None:
    # Without torch, a rank starts in a fraction of the time.
    from mpi4py import MPI

    MPI.Init_thread(MPI.THREAD_MULTIPLE)
    comm = MPI.COMM_WORLD
    run = RunFile.create(path, {}, {}, None, 1) if comm.rank == 0 else None

    def tell(failed: bool) -> None:
        if run is not None and not path.with_name("told").exists():
            path.with_name("told").touch()
            run.foretell("failed" if failed else "interrupted")

    with watchdog.watching(comm, None, ends=False), sentinel.before_ending(tell):
        comm.Barrier()
        # By then the first waits.
        time.sleep(0.3)
        if comm.rank == 1 and how == "fails":
            raise DivergenceError("agent 1 diverged")
        if comm.rank == 1 and how == "leaves":
            os._exit(3)
        if comm.rank == 1 and how == "tells mpirun to end":
            os.kill(os.getppid(), signal.SIGTERM)
        comm.recv(tag=1)


with guard():
    main(sys.argv[1], Path(sys.argv[2]))
