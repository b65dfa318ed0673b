"""How a rank hears that its run should stop after a round: by a signal that ends nothing by itself.

Schedulers send it before they take a machine away, and `mpidl run` in place of those that would end the ranks at once.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

DEFAULT = signal.SIGUSR2
_asked = threading.Event()


def listen(number: signal.Signals = DEFAULT) -> None:
    """From now on this signal asks this process to stop; before, it would have ended it. For the main thread."""

    def note(received: int, frame: FrameType | None) -> None:
        _asked.set()

    signal.signal(number, note)


def asked() -> bool:
    """Whether this rank was asked to stop."""
    return _asked.is_set()


def forget() -> None:
    """As if nobody had asked."""
    _asked.clear()
