"""A rank that is told to end does first what must be done in any case, even where its main thread cannot hear of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from mpidl.comm.start import sentinel
from tests.mpirun import environment

# Deaf: inside a library that looks at no signal, as one that waits for a message.
PROGRAM = """
import hashlib, os, threading
from mpidl.comm.start import sentinel

def act(failed):
    os.write(1, b"saved\\n")

with sentinel.watched(lambda: None), sentinel.before_ending(act):
    # By then the main thread is in there.
    threading.Timer(0.5, os.write, (1, b"up\\n")).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_last_acts_of_a_rank_that_cannot_hear_are_done(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=environment())
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.stdout.readline() == "saved\n"
        if number == signal.SIGTERM:
            assert process.wait(timeout=30) == 143
    finally:
        process.kill()
        process.communicate()


class Dropped:
    """Python passes on nothing of what is raised as such an object goes."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_interrupt_that_comes_in_a_destructor_comes_once_more(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), sentinel.interruptible():
        Dropped(number)
        threading.Event().wait(10)
    assert capfd.readouterr() == ("", "")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
