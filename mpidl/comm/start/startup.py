"""How a rank starts: threads, then the GPU, then MPI, then the checks that only a started MPI allows."""

from __future__ import annotations

import ctypes
import logging
import os
import socket

import torch
from mpi4py import MPI

from mpidl.comm.start import device as devices
from mpidl.comm.start import launchers, presence
from mpidl.comm.start.joining import join
from mpidl.errors import ConfigError

log = logging.getLogger("mpidl.comm")

UNASKED = 2**21 + 2**12
"""Bytes: a chunk of float64, the longest on a CPU (`mpidl.comm.gossip.sizes`), and what MPI writes before it."""


def library() -> str:
    """`Open MPI v5.0.11`, `MPICH Version: 4.3.0`."""
    return MPI.Get_library_version().splitlines()[0].split(",")[0].strip("\x00 ").replace("\t", " ")


def start(device: str = "auto", threads: int | str = 1, before: int = 0) -> MPI.Intracomm:
    """Chooses this rank's device, starts MPI unless it runs already, and returns the communicator of all ranks.

    `threads` is torch's number of CPU threads; "auto" leaves torch's own choice, and with it the promise that numbers
    do not depend on the number of ranks. `before`: how many ranks of other launches use this host's first GPUs.
    """
    if threads != "auto":
        torch.set_num_threads(int(threads))
    keep_freed_memory()
    place = launchers.find(os.environ)
    late = MPI.Is_initialized()
    chosen, problem = torch.device("cpu"), ""
    try:
        chosen = devices.choose(device, before + place.local_rank)
    except ConfigError as error:
        # Perhaps on this host alone: told to all ranks as soon as MPI can.
        problem = error.message
    if late and chosen.type != "cpu":
        log.warning("MPI ran before %s was chosen: an MPI that knows of GPUs may use another one", chosen)
    if not late:
        if place.local_size == place.size:
            _spare_a_second()
        else:
            _send_chunks_at_once()
        join(place)
    comm = MPI.COMM_WORLD
    launchers.refuse_solo(place, comm.size, library())
    _refuse_device(comm, problem)
    _refuse_mixture(comm, chosen.type)
    _cross_check(comm, place, chosen)
    # Again, now that MPI has its files in shared memory.
    presence.leave(comm.rank)
    return comm


def _spare_a_second() -> None:
    """Has Open MPI, unless it is told otherwise, not open what sends one-sided messages over libfabric.

    Ranks of one host have no use for it, and closing it again sleeps for a second: half of a small run's start.
    """
    os.environ.setdefault("OMPI_MCA_btl", "^ofi")


def _send_chunks_at_once() -> None:
    """Has Open MPI, unless it is told otherwise, send messages of up to `UNASKED` bytes over TCP as they come.

    It would announce them, and what the receiver then asks for, piece by piece, waits behind the chunks that go the
    other way: a round took 1.2 times as long over 1 Gbit/s, and with 20 ms on the way 1.6 times. Chunks that arrive
    before they are received lie in memory of MPI's, some tens of MiB.
    """
    names = [f"OMPI_MCA_btl_tcp_{name}" for name in ("eager_limit", "rndv_eager_limit", "max_send_size")]
    # All or none: a receiver has room for one message of the last one's size, and does not look at what comes.
    if not any(name in os.environ for name in names):
        os.environ |= dict.fromkeys(names, str(UNASKED))


def _refuse_device(comm: MPI.Intracomm, problem: str) -> None:
    """Raises the same error on all ranks where one of them cannot have the device it was told to use."""
    problems = comm.allgather((problem, socket.gethostname()))
    refusals = [(text, host) for text, host in problems if text]
    if refusals:
        text, host = refusals[0]
        where = "" if len(refusals) == comm.size else f"on {host}, "
        raise ConfigError(f"{where}{text}", "train.device")


def _refuse_mixture(comm: MPI.Intracomm, kind: str) -> None:
    """Raises the same error on all ranks where some have a GPU and others have none, or one of another kind."""
    hosts = dict(comm.allgather((kind, socket.gethostname())))
    if len(hosts) > 1:
        # The CPU, if any, comes first.
        (one, here), (other, there) = sorted(hosts.items())[:2]
        found = f"a GPU on {there} and none" if one == "cpu" else f"{other} on {there} and {one}"
        raise ConfigError(
            f"'auto' finds {found} on {here}; say cpu, or start the ranks where each has a GPU, of one kind",
            "train.device",
        )


def _cross_check(comm: MPI.Intracomm, place: launchers.Place, chosen: torch.device) -> None:
    """Warns where the launcher's idea of who shares a host is not MPI's."""
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    local_rank, local_size = node.rank, node.size
    node.Free()
    mine = ""
    if place.local_rank != local_rank or place.local_size not in (None, local_size):
        mine = f"rank {comm.rank} is {place.local_rank} of {place.local_size or '?'}, not {local_rank} of {local_size}"
    differing = [text for text in comm.allgather(mine) if text]
    if differing and comm.rank == 0:
        log.log(
            logging.INFO if chosen.type == "cpu" else logging.WARNING,
            "for %s, %s among the ranks of its host, as MPI counts them (so for %d of %d ranks); "
            "two ranks may have chosen the same GPU",
            place.launcher.name if place.launcher else "the environment",
            differing[0],
            len(differing),
            comm.size,
        )


# Of glibc's malloc.h: options of mallopt, and the largest block that can be kept out of mmap.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, MMAP_THRESHOLD_MAX = -1, -3, 32 << 20


def keep_freed_memory() -> None:
    """Has glibc's malloc keep freed memory for the next step; other C libraries have no option for it.

    By default the activations freed at the end of a backward pass go back to the system, and each page of the next
    pass is faulted in anew: resnet20 at batch 32 took 85 ms a step with 7,800 faults, and takes 64 ms with 44 at the
    same peak of memory.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        # Both, because setting either ends malloc's own adjustment of the other.
        mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_MAX)
        mallopt(M_TRIM_THRESHOLD, -1)
