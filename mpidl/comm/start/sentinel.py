"""How a process of mpidl hears that it should end, also while it waits inside MPI.

Python runs a signal's handler when the main thread is back from the library that it has called, and a rank may wait in
MPI for one that never comes; that mpirun was killed, MPI notices after seconds. So a thread watches over a rank: it
gives the main thread a moment to end by itself, the run file closed, and then ends the process. What must be done in
any case is done by the thread, at once.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mpidl.errors import ExitCode, Interruption

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# For the main thread to hear of a signal, and then to be done; mpirun of Open MPI itself gives ranks two seconds.
HEAR_SECONDS, END_SECONDS = 0.5, 2.0

# After which an interrupt comes once more that Python could not pass on: by then the destructor is left.
AGAIN_SECONDS = 0.01

_last_acts: list[Callable[[bool], None]] = []


@contextmanager
def before_ending(act: Callable[[bool], None]) -> Iterator[None]:
    """While this lasts, a watched rank that is about to be ended does this first: in another thread, perhaps twice.

    `act` is told whether that is since a rank has failed, as far as this one knows.
    """
    _last_acts.append(act)
    try:
        yield
    finally:
        _last_acts.remove(act)


def prepare(failed: bool) -> None:
    """Does what must be done before this rank is ended, which is about to happen."""
    # The main thread may change it meanwhile.
    for act in _last_acts[:]:
        act(failed)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """While this lasts, the first TERM, HUP or QUIT raises Interruption, and sets what is yielded; more do nothing.

    What is ignored stays so: nohup has HUP ignored.
    """
    heard = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if not heard.is_set():
            heard.set()
            raise Interruption(signal.Signals(number).name)

    ours = [number for number in ENDING if _is_main_thread() and signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, handle)
    try:
        with _raised_again(heard):
            yield heard
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _raised_again(heard: threading.Event) -> Iterator[None]:
    """While this lasts, an interrupt that comes in a destructor or a callback, where Python drops it, is not lost."""
    before, timers = sys.unraisablehook, list[threading.Timer]()

    def hook(dropped: sys.UnraisableHookArgs) -> None:
        error = dropped.exc_value
        if not isinstance(error, KeyboardInterrupt):
            before(dropped)
            return
        heard.clear()
        number = signal.Signals[str(error)] if isinstance(error, Interruption) else signal.SIGINT
        timers.append(threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number)))
        timers[-1].start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in timers:
            timer.cancel()


@contextmanager
def watched(say: Callable[[], None]) -> Iterator[None]:
    """While this lasts, this rank ends when it is told to, or when the process that started it is gone.

    `say` is called as soon as it is told to, by the thread: the main one may hear of it too late.
    """
    if not _is_main_thread():
        yield
        return
    with interruptible() as heard:
        parent = os.pidfd_open(os.getppid()) if hasattr(os, "pidfd_open") else None
        signals, sending = os.pipe()
        os.set_blocking(sending, False)
        before = signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
        over = threading.Event()
        thread = threading.Thread(target=_watch, args=(parent, signals, heard, over, say), daemon=True)
        thread.start()
        try:
            yield
        finally:
            # Nothing raises from here on: the work is done, or its failure is told.
            heard.set()
            over.set()
            signal.set_wakeup_fd(before)
            os.close(sending)
            thread.join()
            for handle in (signals, parent):
                # Where stdin is closed, one of them is 0.
                if handle is not None:
                    os.close(handle)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _watch(
    parent: int | None, signals: int, heard: threading.Event, over: threading.Event, say: Callable[[], None]
) -> None:
    poll = select.poll()
    for handle in (parent, signals):
        if handle is not None:
            poll.register(handle, select.POLLIN)
    code: ExitCode | None = None
    while code is None:
        ready = {handle for handle, _ in poll.poll()}
        numbers = os.read(signals, 64) if signals in ready else b""
        if any(number in ENDING for number in numbers):
            code = ExitCode.ENDED
            say()
            prepare(failed=False)
        elif signal.SIGINT in numbers:
            # Python raises it where it can, and the rank is not ended while it cannot.
            prepare(failed=False)
        elif parent in ready:
            os.kill(os.getpid(), signal.SIGTERM)
            code = ExitCode.COMMUNICATION
            prepare(failed=False)
        elif not numbers:
            return
    if over.wait(HEAR_SECONDS) or heard.is_set() and over.wait(END_SECONDS - HEAR_SECONDS):
        return
    os._exit(code)
