"""Whether MPI reaches the memory of a GPU: asked of the library, and then tried."""

from __future__ import annotations

import ctypes
import os

import torch
from mpi4py import MPI

from mpidl.comm.wire import buffer

# Sent at once by every MPI, and sent only when the receiver is ready: the two ways may differ in what they reach.
_SIZES = (256, 8 * 2**20)


def reaches(comm: MPI.Intracomm, device: torch.device) -> bool:
    """Whether MPI may be given memory of this device; asked by all ranks together, all on CPUs or all on GPUs.

    A library that knows nothing of GPUs can crash on their addresses, so it is tried only where all ranks' libraries
    claim to know. Then each rank sends to the next one, around a ring; what arrives wrong anywhere is told to all.
    """
    if device.type == "cpu":
        return True
    if not all(comm.allgather(_claims())):
        return False
    before, after = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    intact = True
    for size in _SIZES:
        sent = torch.full((size,), comm.rank % 251, dtype=torch.uint8, device=device)
        received = torch.full((size,), 255, dtype=torch.uint8, device=device)
        torch.cuda.synchronize(device)
        comm.Sendrecv(buffer(sent), after, recvbuf=buffer(received), source=before)
        intact = intact and bool((received == before % 251).all())
    return all(comm.allgather(intact))


def _claims() -> bool:
    """What the library says of itself: Open MPI and MPICH by a function, Cray's by the setting that turns it on."""
    library = ctypes.CDLL(MPI.__file__)
    query = getattr(library, "MPIX_Query_cuda_support", None)
    return bool(query and query()) or os.environ.get("MPICH_GPU_SUPPORT_ENABLED") == "1"
