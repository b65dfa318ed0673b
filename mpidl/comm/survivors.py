"""How the ranks that are left go on when one has died, where MPI tells of it: Open MPI 5 started with ULFM.

A rank hears of a death by an error of whatever call it is in, or by none: collective calls of Open MPI return as if all
were well, with numbers that never came. So what goes wrong once a death is known is put down to it, and what was
computed since is given up. Who hears of it first revokes all communicators of the run, which ends every wait in them on
every rank. The communicators that have been revoked, and their requests, are left as they are: to free them is a
collective call, and the one who is gone does not take part.

The ranks then agree whether the work had come to its end, and those that are left get a communicator of their own.
A further death while Open MPI makes a communicator, a few milliseconds, crashes it (seen in 5.0.11), so that several
deaths at a time are awaited first.
"""

from __future__ import annotations

import os
import sys
import time
from functools import cache
from typing import cast

from mpi4py import MPI

# For deaths at the same time to become known; until an error is blamed on what runs here.
SETTLE_SECONDS, LOOK_SECONDS = 0.5, 0.2

# Set by mpirun, which is asked for it by `--with-ft ulfm`.
_SETTING = "OMPI_MCA_mpi_ft_enable"
_DEATHS = (MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING, MPI.ERR_REVOKED)

_made: list[MPI.Intracomm] = []
"""In the order in which they were made, which a rank that has not heard of the newest yet relies on."""
_bereaved = False


def supported() -> bool:
    """Whether this rank goes on when another dies."""
    started = MPI.Is_initialized() and not MPI.Is_finalized()
    return started and os.environ.get(_SETTING, "0").lower() in ("1", "true", "yes") and _offered()


@cache
def _offered() -> bool:
    try:
        MPI.COMM_SELF.Is_revoked()
    except NotImplementedError:
        return False
    return True


def duplicate(comm: MPI.Intracomm) -> MPI.Intracomm:
    """A communicator of the same ranks, which is revoked when one of them has died. A collective call."""
    made = comm.Dup()
    _made.append(made)
    # Who has it already may have revoked it, and not have been heard: then it has revoked what it was made from before.
    if supported() and comm.Is_revoked():
        raise MPI.Exception(MPI.ERR_REVOKED)
    return made


def free(comm: MPI.Intracomm) -> None:
    """Gives such a communicator back. A collective call."""
    _made.remove(comm)
    comm.Free()


def revoke() -> None:
    """Ends every wait in what was made here, on all ranks, now and for ever."""
    global _bereaved
    _bereaved = True
    for comm in _made:
        comm.Revoke()


def struck(ranks: MPI.Intracomm) -> bool:
    """Whether one of these ranks has died; then all waits are over. For a rank that has met with an error."""
    # An error may be known before its cause.
    deadline = time.monotonic() + LOOK_SECONDS
    while not (known := _is_known(ranks)) and time.monotonic() < deadline:
        # Lets MPI hear of it.
        MPI.COMM_SELF.Iprobe()
        time.sleep(0.005)
    if known:
        revoke()
    return known


def refuse_loss(ranks: MPI.Intracomm) -> None:
    """Raises an error if a rank is known to have died: what collective calls have returned may be nothing."""
    if supported() and _is_known(ranks):
        raise MPI.Exception(MPI.ERR_PROC_FAILED)


def agreed(ranks: MPI.Intracomm, well: bool) -> bool:
    """Whether all is well on all ranks, and none has died; the same answer on all. Collective, also when revoked."""
    try:
        return bool(ranks.Agree(int(well)))
    except MPI.Exception as error:
        if error.Get_error_class() not in _DEATHS:
            raise
        return False


def those_left(ranks: MPI.Intracomm) -> tuple[MPI.Intracomm, list[int]]:
    """A communicator of the ranks that live, in their order, and who of the old ones they are. Collective for them."""
    _made.clear()
    left = None
    while left is None:
        time.sleep(SETTLE_SECONDS)
        left = _shrunk(ranks)
    _made.append(left)
    group = left.Get_group()
    return left, MPI.Group.Translate_ranks(group, list(range(group.size)), ranks.Get_group())


def living(comm: MPI.Intracomm) -> list[int]:
    """The ranks, this one among them, that are not known to have died; from now on the others disturb no `Iprobe`."""
    if not supported():
        return list(range(comm.size))
    comm.Ack_failed()
    failed, group = comm.Get_failed(), comm.Get_group()
    gone = set(MPI.Group.Translate_ranks(failed, list(range(failed.size)), group))
    return [rank for rank in range(comm.size) if rank not in gone]


def probed(comm: MPI.Intracomm, tag: int) -> bool:
    """Whether a message with this tag is there, whoever has died, or becomes known to have while this looks."""
    while True:
        living(comm)
        try:
            return bool(comm.iprobe(tag=tag))
        except MPI.Exception as error:
            if error.Get_error_class() not in _DEATHS or comm.Is_revoked():
                raise


def leave(code: int) -> None:
    """Ends this process if a rank has died: MPI_Finalize has been seen to wait for it. Else does nothing."""
    if _bereaved:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _shrunk(ranks: MPI.Intracomm) -> MPI.Intracomm | None:
    """A communicator of those that live; None where one more has died meanwhile. Collective for them."""
    ranks.Ack_failed()
    try:
        left = cast("MPI.Intracomm", ranks.Shrink())
    except MPI.Exception as error:
        if error.Get_error_class() not in _DEATHS:
            raise
        left = None
    # Some may have one, and others none.
    return left if agreed(ranks, left is not None) else None


def _is_known(ranks: MPI.Intracomm) -> bool:
    return ranks.Is_revoked() or ranks.Get_failed().size > 0
