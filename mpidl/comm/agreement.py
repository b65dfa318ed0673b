"""Whether all ranks hold the same: compared before anything depends on it, and what differs is named on all of them."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from os.path import commonprefix

import numpy as np
from mpi4py import MPI

from mpidl.errors import CommunicationError

# Of what differs, so much is said: where ranks were given two configurations, nearly everything may.
_NAMED = 3
_LONGEST = 60


def agree(comm: MPI.Intracomm, facts: Mapping[str, str], cure: str) -> None:
    """Raises the same error on every rank unless all hold the same facts, in any order; `cure` is what to do about it.

    A collective call whose first messages have the same size whatever the facts are, so that ranks that mean different
    runs can make it.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).digest()
    digests = np.empty((comm.size, len(digest)), dtype=np.uint8)
    comm.Allgather(np.frombuffer(digest, dtype=np.uint8), digests)
    different = np.flatnonzero((digests != digests[0]).any(axis=1))
    if not len(different):
        return
    rank, mine = int(different[0]), (socket.gethostname(), dict(facts))
    (here, ours), (there, theirs) = comm.bcast(mine, 0), comm.bcast(mine, rank)
    named = list(_differences(ours, theirs))
    more = f", and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    raise CommunicationError(
        f"rank 0 on {here} and rank {rank} on {there} disagree: {', '.join(named[:_NAMED])}{more}; {cure}"
    )


def of_first(comm: MPI.Intracomm, text: str) -> str:
    """The text of rank 0, on every rank. A collective call."""
    return str(comm.bcast(text, 0))


def largest(comm: MPI.Intracomm, numbers: Sequence[int]) -> list[int]:
    """Of each of these numbers, the largest that any rank says. A collective call."""
    every = np.empty(len(numbers), dtype=np.int64)
    comm.Allreduce(np.array(numbers, dtype=np.int64), every, MPI.MAX)
    return every.tolist()


def _differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> Iterator[str]:
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        if ours.get(key) != theirs.get(key):
            one, other = _shown(ours.get(key), theirs.get(key)), _shown(theirs.get(key), ours.get(key))
            yield f"{key} is {one} on the one and {other} on the other"


def _shown(value: str | None, other: str | None) -> str:
    """Of a long one the part in which it differs from the other: two paths may do so at their ends alone."""
    if value is None:
        return "absent"
    same = len(commonprefix((value, other or "")))
    begin = max(0, min(same - _LONGEST // 3, len(value) - _LONGEST))
    end = begin + _LONGEST
    return f"{'…' * (begin > 0)}{value[begin:end]}{'…' * (end < len(value))}"
