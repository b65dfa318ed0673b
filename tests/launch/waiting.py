"""Ranks that wait for each other inside MPI, or do on rank 1 as they are told; what test_deaths.py launches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mpidl.comm.start import presence
from mpidl.comm.start.failures import guard


def main(what: str) -> None:
    # Without torch, a rank starts in a fraction of the time.
    from mpi4py import MPI

    MPI.Init_thread(MPI.THREAD_MULTIPLE)
    comm = MPI.COMM_WORLD
    comm.allreduce(1)
    presence.leave(comm.rank)
    if comm.rank == 1 and what == "exit":
        os._exit(0)
    if comm.rank == 1 and what == "leave a child":
        with Path(os.devnull).open("w") as nowhere:
            child = subprocess.Popen(
                [sys.executable, "-c", "import time; time.sleep(600)"], stdout=nowhere, stderr=nowhere
            )
        print(child.pid, flush=True)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    if comm.rank == 1 and what == "abort":
        comm.Abort(7)
    if comm.rank == 1 and what == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    processes = comm.gather(os.getpid())
    if comm.rank == 0:
        print("up", *processes, flush=True)
    comm.recv()


with guard():
    main(sys.argv[1])
