"""What a rank sees of others though it may wait for them inside MPI: one that is frozen, or that left unnoticed.

A thread of every rank sends a beat to the next one, every second, and listens for those of the one before. A process
that is stopped, or a host that hangs, sends none; nor does one behind a cable that is out, which may come back. So who
is silent is first named, and missed only after the time that the user gives it. It also
sees when a process of its host is gone. Where ranks outlive others, Open MPI tells of those that a signal has ended,
and of no others. Elsewhere the launcher is about to end them all, as it is when a rank has told that it failed: it may
leave them no time, so that they are prepared before.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mpi4py import MPI

from mpidl.comm import survivors
from mpidl.comm.start import failures, sentinel
from mpidl.errors import Diverged, ExitCode, Stopped

log = logging.getLogger("mpidl.comm")

_BEAT, _LAST = 0, 1
# For MPI to tell of a death by itself, and for ranks that come to their end together.
_GRACE_SECONDS = 2.0
_BEAT_SECONDS = 1.0
# Half of what a rank that fails waits for others, `failures.GRACE_SECONDS`.
_LOOK_SECONDS = 0.5
# Beats of a busy host come late by some; who waits for longer wants to know for whom.
_TOLD_SECONDS = 10.0


@contextmanager
def watching(comm: MPI.Intracomm, seconds: float | None, ends: bool) -> Iterator[None]:
    """While this lasts, a rank that is not heard of for so long is named, and ended if that is possible and `ends`.

    Else the run ends. A collective call at its beginning; None: nobody is missed.
    """
    if comm.size == 1 or MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        yield
        return
    over, end = os.pipe()
    everyone = comm.allgather((socket.gethostname(), os.getpid()))
    # Never revoked, since its messages end no wait.
    watchdog = _Watchdog(comm.Dup(), everyone, seconds, ends, over)
    watchdog.start()
    together = False
    try:
        yield
        together = True
    except (Stopped, Diverged):
        # All ranks, after the same round.
        together = True
        raise
    finally:
        os.close(end)
        watchdog.join()
        os.close(over)
        if together and seconds is not None and not survivors.supported():
            watchdog.hear_the_last()


class _Watchdog(threading.Thread):
    def __init__(
        self, beats: MPI.Intracomm, everyone: list[tuple[str, int]], seconds: float | None, ends: bool, over: int
    ) -> None:
        super().__init__(daemon=True, name="mpidl-watchdog")
        self._beats, self._everyone, self._seconds, self._ends, self._over = beats, everyone, seconds, ends, over
        self._host = everyone[beats.rank][0]
        self._handles: dict[int, int] = {}
        if hasattr(os, "pidfd_open"):
            for rank, (host, process) in enumerate(everyone):
                if host == self._host and rank != beats.rank:
                    # It may be gone already; then MPI has not started everywhere, and this ends otherwise.
                    with suppress(OSError):
                        self._handles[os.pidfd_open(process)] = rank
        self._before, self._heard, self._sent, self._told = -1, 0.0, list[MPI.Request](), False
        self._ending = False
        """Whether another rank has failed, so that this one will be ended."""

    def run(self) -> None:
        poll = select.poll()
        for handle in (self._over, *self._handles):
            poll.register(handle, select.POLLIN | select.POLLHUP)
        seconds, due = self._seconds, time.monotonic()
        while True:
            wait = _LOOK_SECONDS if seconds is None else min(_LOOK_SECONDS, max(0.0, due - time.monotonic()))
            ready = [handle for handle, _ in poll.poll(1000 * wait)]
            if self._over in ready or any(self._left_unnoticed(poll, handle) for handle in ready):
                break
            self._look()
            if seconds is not None and time.monotonic() >= due:
                period = min(_BEAT_SECONDS, seconds / 4)
                self._beat(seconds, late=time.monotonic() - due > period)
                due = time.monotonic() + period
        for handle in self._handles:
            os.close(handle)

    def hear_the_last(self) -> None:
        """Receives the beats that are under way, once no more are sent. A collective call, of ranks that all live.

        What nobody has received when MPI ends, UCX counts and tells of, a line on each rank.
        """
        beats, last = self._beats, MPI.Status()
        self._sent.append(beats.Isend([b"", 0, MPI.BYTE], (beats.rank + 1) % beats.size, _LAST))
        # Messages from one rank come in their order.
        while last.tag != _LAST:
            beats.Recv([bytearray(0), 0, MPI.BYTE], (beats.rank - 1) % beats.size, MPI.ANY_TAG, last)
        MPI.Request.Waitall(self._sent)
        beats.Free()

    def _left_unnoticed(self, poll: select.poll, handle: int) -> bool:
        """Takes note that a process is gone; whether all is over by then. Ends the run if MPI knows nothing of it."""
        poll.unregister(handle)
        if not survivors.supported():
            # Of which its launcher hears, and ends all.
            self._ending = True
            sentinel.prepare(failed=True)
            return False
        ending = select.poll()
        ending.register(self._over, select.POLLIN | select.POLLHUP)
        # Twice, since this process may itself have been stopped during the first wait.
        if ending.poll(1000 * _GRACE_SECONDS) or ending.poll(1000 * _GRACE_SECONDS):
            return True
        self._beats.Iprobe(self._beats.rank)
        living, rank = survivors.living(self._beats), self._handles[handle]
        if rank not in living:
            return False
        here = [each for each in living if self._everyone[each][0] == self._host and each != rank]
        if here[0] == self._beats.rank and not failures.announced(MPI.COMM_WORLD):
            failures.end_at_once(f"rank {rank} on {self._host} ended before its work was done, without a word")
        # Another speaks, or has spoken; what the main thread waits for will never come.
        time.sleep(_GRACE_SECONDS)
        os._exit(ExitCode.COMMUNICATION)

    def _look(self) -> None:
        """Prepares for the end where another rank has announced it: a launcher may kill this one without a word."""
        if self._ending or survivors.supported():
            return
        with suppress(MPI.Exception):
            self._ending = survivors.probed(MPI.COMM_WORLD, failures.NOTICE_TAG)
        if self._ending:
            sentinel.prepare(failed=True)

    def _beat(self, seconds: float, late: bool) -> None:
        """Sends and hears beats; `late`: after a pause of this rank itself, in which it has heard nobody."""
        living, now = survivors.living(self._beats), time.monotonic()
        if len(living) == 1:
            return
        place = living.index(self._beats.rank)
        before, after = living[place - 1], living[(place + 1) % len(living)]
        if late or before != self._before:
            self._before, self._heard, self._told = before, now, False
        heard = self._heard
        # What fails here is a death, of which the other thread hears.
        with suppress(MPI.Exception):
            self._sent = [each for each in self._sent if not each.Test()]
            self._sent.append(self._beats.Isend([b"", 0, MPI.BYTE], after, _BEAT))
            while self._beats.Iprobe(before, _BEAT):
                self._beats.Recv([bytearray(0), 0, MPI.BYTE], before, _BEAT)
                self._heard = now
        if now - self._heard > seconds:
            self._miss(before, now - self._heard)
        else:
            self._tell(before, now - heard, seconds, again=self._heard > heard)

    def _tell(self, rank: int, silent: float, seconds: float, again: bool) -> None:
        """Says once that a rank has been silent for long, and once that it is heard again."""
        who = f"rank {rank} on {self._everyone[rank][0]}"
        if self._told and again:
            self._told = False
            log.warning("%s is heard of again, after %.0f s", who, silent)
        elif not (self._told or again) and silent > _TOLD_SECONDS:
            self._told = True
            log.warning(
                "%s has not been heard of for %.0f s; the others wait for it, for the %.0f s of failures.timeout",
                who,
                silent,
                seconds,
            )

    def _miss(self, rank: int, silent: float) -> None:
        host, process = self._everyone[rank]
        sentence = f"rank {rank} on {host} has not been heard of for {silent:.0f} s"
        if not (self._ends and host == self._host and survivors.supported()):
            failures.end_at_once(sentence)
        log.warning("%s: it is ended, so that the others can go on", sentence)
        self._heard = time.monotonic()
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)
