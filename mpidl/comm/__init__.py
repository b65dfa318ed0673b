"""Everything that knows of ranks: who runs which agent, messages, shared memory, sums over agents, failures.

mpi4py starts MPI when `mpi4py.MPI` is first imported, unless told otherwise. It is told here, before any module below
can import it, because a rank must choose its GPU first (`startup.start`); and a login node must not start MPI at all.
"""

from __future__ import annotations

import mpi4py

mpi4py.rc.initialize = False
# Without it, ranks that end by themselves would leave MPI running, which mpirun reports as a crash.
mpi4py.rc.finalize = True
