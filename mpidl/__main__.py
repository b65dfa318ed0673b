"""`python -m mpidl`, and the `mpidl` command."""

from __future__ import annotations

import signal
import sys

_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _heard:
    # While modules are imported nobody answers an interrupt in a sentence: it ends the program without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from mpidl.cli.main import main  # noqa: E402

if _heard:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if __name__ == "__main__":
    sys.exit(main())
