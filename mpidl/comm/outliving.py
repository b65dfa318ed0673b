"""Going on when ranks die: those that are left try again, from where all of them can."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mpi4py import MPI

from mpidl.comm import survivors
from mpidl.comm.start import failures, presence, watchdog
from mpidl.errors import CommunicationError, Diverged, Stopped
from mpidl.sentences import told


@dataclass
class Progress:
    """How far a rank has come when another dies."""

    begun: bool = False
    """Whether training has begun, so that there is a run file."""
    again: bool = True
    """Whether it has since the last death."""
    done: int = 0
    """Rounds that were."""
    outlived: Callable[[], bool] = lambda: False
    """Whether an error that this rank has met with is since another has died, and work goes on without that."""


@dataclass(frozen=True)
class Deaths:
    """Who has died, as all ranks know it that are left. `who`: in words; `total`: how many so far.

    `left`: by rank, what its number was at first.
    """

    who: str
    total: int
    left: tuple[int, ...]
    done: int
    """Rounds that a rank had done."""
    noticed: float
    """When this rank did, by `time.perf_counter`."""

    @property
    def seconds(self) -> float:
        """Since then."""
        return time.perf_counter() - self.noticed


Work = Callable[[MPI.Intracomm, Deaths | None, Progress], None]
"""What ranks do, given their communicator, and what is known of those that died; it says how far it has come."""


def outlive(comm: MPI.Intracomm, work: Work, give_up: Callable[[], None], most: int, seconds: float | None) -> None:
    """Has all ranks do their work; if some die, `give_up`, and have those that are left do it, until it is done.

    `give_up` must not communicate. At most so many may die, where MPI can go on at all. A rank that is silent for so
    many `seconds` is taken to be dead, if it can be ended; else the run ends.
    """
    with watchdog.watching(comm, seconds, ends=most > 0):
        if not survivors.supported() or comm.size == 1:
            work(comm, None, Progress())
        else:
            _outlive(comm, work, give_up, most)


def _outlive(comm: MPI.Intracomm, work: Work, give_up: Callable[[], None], most: int) -> None:
    hosts = comm.allgather(socket.gethostname())
    ranks, numbers = survivors.duplicate(comm), list(range(comm.size))
    progress, noticed, dead = Progress(), 0.0, list[int]()
    while True:
        progress.outlived = partial(_is_outlived, comm, ranks)
        ended: Stopped | Diverged | None = None
        met, words = 0.0, ""
        try:
            who = [f"rank {each} on {hosts[each]}" for each in dead]
            deaths = _account(ranks, who, len(hosts) - len(numbers), numbers, progress, noticed)
            if deaths is not None:
                _refuse_more(deaths, most)
            work(ranks, deaths, progress)
        except (Stopped, Diverged) as error:
            # Of all ranks, after the same round.
            ended = error
        except Exception as error:
            # Of any kind: a death leaves numbers that never came, and what is wrong by itself is met with again. Its
            # words alone are kept, since it refers to the memory of the run that is given up.
            met, words = time.perf_counter(), told(error)
            if not progress.outlived():
                raise
        if survivors.agreed(ranks, well=not met):
            if ended is not None:
                raise ended
            return
        if progress.again:
            # Of those who died before is told already.
            dead, noticed, progress.again = [], met or time.perf_counter(), False
        survivors.revoke()
        give_up()
        # Of the run that is given up, large memory may hang in circles of references.
        gc.collect()
        ranks, before = survivors.those_left(ranks)
        left = [numbers[rank] for rank in before]
        lost = [number for number in numbers if number not in left]
        for number in lost:
            presence.lose(number)
        dead, numbers = dead + lost, left
        if not dead:
            raise CommunicationError(f"ranks have lost each other, though none has died{words and f': {words}'}")


def _is_outlived(comm: MPI.Intracomm, ranks: MPI.Intracomm) -> bool:
    """Whether an error is since one of these ranks has died, and not since one out of `comm` has failed."""
    return survivors.supported() and not failures.announced(comm) and survivors.struck(ranks)


def _account(
    ranks: MPI.Intracomm, dead: list[str], total: int, left: list[int], progress: Progress, noticed: float
) -> Deaths | None:
    """What all that are left tell each other; nothing at the beginning. A collective call."""
    if not dead:
        return None
    everywhere = ranks.allgather((progress.begun, progress.done))
    done = max(rounds for _, rounds in everywhere)
    who = f"{', '.join(dead[:-1])} and {dead[-1]}" if len(dead) > 1 else dead[0]
    if not any(begun for begun, _ in everywhere):
        raise CommunicationError(f"{who} died before training began")
    return Deaths(who, total, tuple(left), done, noticed)


def _refuse_more(deaths: Deaths, most: int) -> None:
    if deaths.total > most:
        counted = f", the last of {deaths.total} to die" if deaths.total > 1 else ""
        raise CommunicationError(
            f"{deaths.who} died after round {deaths.done}{counted}, and {most or 'none'} may (failures); --resume "
            "goes on from the newest checkpoint"
        )
