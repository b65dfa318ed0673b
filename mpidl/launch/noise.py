"""What ranks and launcher write to stderr, passed on byte for byte, but without the launcher's post-mortem.

When a rank fails, Open MPI, MPICH and Slurm explain at length, some in blocks ruled off by dashes or equals signs, that
a process ended. Where the failing rank has said in one line what was wrong, these words only bury it; where it has not,
they are kept until it is known whether one line can say what they say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TextIO

from mpidl.comm.start.presence import REPORT, WORD

# A rule may follow other text where a rank left its line unfinished.
_RULE = re.compile(rb"[-=]{60,}[ \t]*$")
_SINGLE_LINES = (
    b"Abort(",
    b"application called MPI_Abort",
    b"[mpiexec@",
    b"[proxy:",
    b"YOUR APPLICATION TERMINATED WITH",
    b"This typically refers to a problem",
    b"Please see the FAQ page for debugging",
    b"Abort is in progress...hit ctrl-c again",
    b"srun: error:",
    b"srun: launch/slurm:",
    b"srun: Job step aborted:",
    b"slurmstepd: error:",
    b"slurmstepd-",
)
# Open MPI, of which process: what its parts find when another one goes.
_OF_A_PROCESS = re.compile(rb"\[[^\s\]]+:\d+\] (?:(?:PRTE|PMIX|ORTE|OPAL) ERROR: |\*\*\* )")
# The client of ssh that launchers leave running.
_OF_SSH = re.compile(rb"Connection to \S+ closed|client_loop: send disconnect|Timeout, server \S+ not responding")
_STARTS_OF_SSH = (b"Connection to ", b"client_loop: ", b"Timeout, server ")
# Open MPI on a sum that a death has ended, and an empty line: no news to anybody.
_CHATTER = b"NBC_Progress: an error"
_LONGEST_BLOCK = 8192
_DEATH = re.compile(
    rb"exited on\s+signal|exiting\s+improperly|non-zero status|MPI_ABORT was invoked|calling\s+.abort.|BAD TERMINATION"
    rb"|daemon failed to report back|lost communication with a remote daemon"
)


class Filter:
    """Passes bytes to `write`, save the launcher's explanations, which are dropped where `explained()` is true.

    A line or a block that may be one is held until it is complete, or until `flush` is called. What tells of a death is
    kept in `post_mortem` until the end. Lines for this process go to `report`, where that is given, and words of ranks
    on other hosts to `take`, which returns what is to be passed on. `spoke`: whether a rank has said itself how it
    failed; `ruled`: whether the launcher has said something between rules.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        explained: Callable[[], bool],
        report: Callable[[bytes], object] | None = None,
        take: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._write = write
        self._report, self._take = report, take
        self._explained = explained
        self._line = b""
        self._block = b""
        self.at_line_start = True
        self.post_mortem = b""
        self.spoke = self.ruled = False
        self._chatted = False

    def feed(self, data: bytes) -> None:
        for piece in data.splitlines(keepends=True):
            self._line += piece
            if self._line.endswith(b"\n"):
                line, self._line = self._line, b""
                self._whole_line(line)
            elif not self._block and not _may_be_noise(self._line):
                # An unfinished line, such as a progress bar that returns to its start.
                line, self._line = self._line, b""
                self._pass(line)

    def flush(self) -> None:
        """Nothing more came for a while: what is held is not the launcher's, unless it is explaining a failure."""
        if not self._explained() and not self._is_for_us(self._line):
            self._release()

    def end(self) -> None:
        """The end of the stream: what is still held is noise if the failure is explained."""
        if self._explained():
            self._block = self._line = b""
        elif self._is_for_us(self._line):
            # Half of it: its rank was ended.
            self._line = b""
        self._release()

    def tell(self) -> None:
        """Passes on what tells of a death after all."""
        self._pass(self.post_mortem)

    def _release(self) -> None:
        held, self._block, self._line = self._block + self._line, b"", b""
        self._pass(held)

    def _whole_line(self, line: bytes) -> None:
        ruled = _RULE.search(line.rstrip(b"\r\n"))
        chatted, self._chatted = self._chatted, line.startswith(_CHATTER)
        if self._chatted or (chatted and not line.strip()):
            return
        # A rank may have left a line unfinished before a report or a word.
        before, report, rest = line.partition(REPORT)
        start, word, words = line.partition(WORD)
        if self._report is not None and report:
            self._pass(before)
            self._report(rest)
        elif self._take is not None and word:
            self._pass(start)
            self._pass(self._take(words))
        elif self._block:
            self._block += line
            if ruled or len(self._block) > _LONGEST_BLOCK:
                block, self._block = self._block, b""
                if not ruled:
                    self._pass(block)
                else:
                    self._noise(block, _DEATH.search(block) is not None)
        elif ruled:
            self._pass(line[: ruled.start()])
            self._block = line[ruled.start() :]
        elif line.startswith(_SINGLE_LINES) or _OF_A_PROCESS.match(line) or _OF_SSH.match(line):
            self._noise(line, True)
        elif not line.strip() and self.at_line_start and self._explained():
            # Open MPI begins with it what it says when it is told to end.
            return
        else:
            self.spoke = self.spoke or line.startswith(b"mpidl: ")
            self._pass(line)

    def _is_for_us(self, line: bytes) -> bool:
        return (self._report is not None and line.startswith(REPORT)) or line.startswith(WORD)

    def _noise(self, text: bytes, of_a_death: bool) -> None:
        """Drops the launcher's words where a rank has said what they say, else keeps or passes them."""
        self.ruled = True
        if of_a_death and len(self.post_mortem) < _LONGEST_BLOCK:
            self.post_mortem += text
        elif not self._explained():
            self._pass(text)

    def _pass(self, data: bytes) -> None:
        if data:
            self.at_line_start = data.endswith(b"\n")
            self._write(data)


def _may_be_noise(start: bytes) -> bool:
    """Whether a line that starts like this may turn out to be the launcher's, or a report."""
    # Open MPI's last word after an abort is a zero byte.
    first = start[:1] in (b"-", b"=", b"[", b"\0", REPORT, WORD)
    return first or any(line.startswith(start[: len(line)]) for line in (*_SINGLE_LINES, _CHATTER, *_STARTS_OF_SSH))


def writer(stream: TextIO) -> Callable[[bytes], None]:
    """What writes to a stream at once, also when its reader has gone."""

    def write(data: bytes) -> None:
        try:
            stream.buffer.write(data)
            stream.buffer.flush()
        except OSError:
            # A reader that has gone, as `head` does, or a terminal that was closed: nobody is there to be told, also
            # not when the interpreter flushes the rest at exit.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)

    return write
