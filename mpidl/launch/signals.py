"""Signals on their way from `mpidl run` to its ranks, by the launcher that it has started.

The first one that asks for an end asks a run that can to stop after a checkpoint; the next one ends it. A process may
have started several launchers, each of which gets them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mpidl.comm.start import presence
from mpidl.launch.verdict import INTERRUPTING

_NUMBERS = (*INTERRUPTING, signal.SIGUSR1, signal.SIGUSR2)
_PR_SET_PDEATHSIG = 1


class Forwarded:
    """Signals that have come to this process, on their way to the launchers that it has started."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._early: list[int] = []
        """Those that came while there was no launcher."""
        self._routes: list[Recipient] = []

    def __call__(self, number: int, _frame: object = None) -> None:
        self.received.append(number)
        routes = [route for route in self._routes if not route.closed]
        if not routes:
            self._early.append(number)
        for route in routes:
            route.take(number)

    def hand_over(self, take: Callable[[int], object]) -> None:
        """Gives away those that came while there was no launcher, and that come meanwhile."""
        with contextlib.suppress(IndexError):
            while True:
                take(self._early.pop(0))

    def to(
        self, process: subprocess.Popen[bytes], stoppable: Path, stopping: signal.Signals, directly: bool = False
    ) -> Recipient:
        """The launcher gets them from now on, and those that came before; ranks can stop once that file is there.

        `directly`: the signal to stop goes to the ranks of this host themselves; it is enough that one hears it.
        """
        route = Recipient(process, stoppable, stopping, directly)
        self._routes.append(route)
        self.hand_over(route.take)
        return route


class Recipient:
    """The way of signals to one launcher and its ranks; that to stop is kept until they can.

    `received`: what has come this way. `ending`: whether the launcher was told to end.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], stoppable: Path, stopping: signal.Signals, directly: bool
    ) -> None:
        self.received: list[int] = []
        self.ending = self.closed = False
        self._waiting: list[int] = []
        self._held: list[int] = []
        self._process, self._stoppable, self._stopping, self._stopped = process, stoppable, stopping, False
        self._directly = directly

    def take(self, number: int) -> None:
        """Sends this signal, or keeps it."""
        self.received.append(number)
        self._waiting.append(number)
        self.send()

    def close(self) -> None:
        """The launcher is gone: signals that come from now on are for others."""
        self.closed = True

    def send(self) -> None:
        """Sends what has come, and what had to wait."""
        can_stop = self._stoppable.is_file()
        # A signal may come at any moment and be dealt with first: so each is taken away in one go.
        with contextlib.suppress(IndexError):
            while can_stop:
                self._pass_on(self._held.pop())
        with contextlib.suppress(IndexError):
            while True:
                self._deal_with(self._waiting.pop(0), can_stop)

    def _deal_with(self, number: int, can_stop: bool) -> None:
        if number == self._stopping and not can_stop:
            # Before they listen it would end them.
            self._held.append(number)
        elif number in INTERRUPTING and can_stop and not self._stopped:
            self._pass_on(self._stopping)
        elif number in INTERRUPTING:
            # Launchers know what to do with these; a terminal that is gone is one more reason to end, and who asks
            # twice is not to wait for all that a launcher does at an INT.
            self.ending = True
            at_once = self._stopped or number in (signal.SIGHUP, signal.SIGQUIT)
            self._pass_on(signal.SIGTERM if at_once else number)
        else:
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        self._stopped = self._stopped or number == self._stopping
        if number == self._stopping and self._directly:
            for rank in presence.read(self._stoppable.parent):
                with contextlib.suppress(ProcessLookupError):
                    if rank.is_here:
                        os.kill(rank.process, number)
        else:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


@contextlib.contextmanager
def forwarding(numbers: Sequence[int] = _NUMBERS) -> Iterator[Forwarded]:
    """While this lasts, signals go to launchers, which pass them to the ranks; what is ignored stays so.

    What has come to one around it, and has not gone to a launcher yet, is taken over.
    """
    forwarded = Forwarded()
    ours = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, forwarded) for number in ours}
    for handler in dict.fromkeys(before.values()):
        if isinstance(handler, Forwarded):
            handler.hand_over(forwarded)
    try:
        yield forwarded
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def keeping() -> contextlib.AbstractContextManager[Forwarded]:
    """While this lasts, signals that ask for a stop are kept for the launcher to come: they would end this process.

    A scheduler may send one at any time, and what precedes the launcher takes seconds.
    """
    return forwarding((signal.SIGUSR1, signal.SIGUSR2))


def end_with_parent() -> Callable[[], object] | None:
    """What the launcher does before it starts: have the kernel end it when this process dies, even by SIGKILL."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
