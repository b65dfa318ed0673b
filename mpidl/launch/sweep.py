"""The launches of a sweep: ranks that take one run after another, and new ones where some have died.

A run in which ranks die is marked as failed, and the runs that are left get ranks of their own. Ranks that die before
they have begun any run would do so again: then nothing more is started.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from mpidl.errors import ExitCode
from mpidl.experiment.sweep.handed import Handed, unclaim
from mpidl.experiment.sweep.member import Member, Report, Standing
from mpidl.launch.folders import folders
from mpidl.launch.launcher import Launcher
from mpidl.launch.library import Library
from mpidl.launch.process import Launch, Running, pass_on
from mpidl.launch.signals import Forwarded, forwarding
from mpidl.launch.verdict import INTERRUPTING

# Codes of ranks that have ended because they were told to.
_TOLD = (ExitCode.STOPPED, ExitCode.INTERRUPTED, ExitCode.ENDED)


@dataclass
class Series:
    """Runs that can have their ranks one after another; `left` are those that no rank has begun, by their numbers."""

    members: Sequence[Member]
    left: dict[int, Member] = field(init=False)

    def __post_init__(self) -> None:
        self.left = {member.number: member for member in self.members}


class Attempt:
    """One launch for runs of a series; `under_way` is what was last told of the run that it is at."""

    running: Running

    def __init__(self, series: Series, place: int, hear: Callable[[Report], object]) -> None:
        self.series, self.place, self._hear = series, place, hear
        self.under_way: Report | None = None
        self.has_begun = False
        self.stack = ExitStack()

    def start(self, launch: Launch, forwarded: Forwarded) -> None:
        """Starts the ranks, in folders of their own."""
        self.running = launch.start(self.stack.enter_context(folders()), forwarded)

    def report(self, line: bytes) -> None:
        """Takes up what the ranks tell."""
        report = Report.received(line)
        if report is None:
            return
        begun = self.series.left.pop(report.member, None)
        if begun is not None:
            self.has_begun = True
            self.running.writes(begun.output)
        self.under_way = report if report.standing is Standing.RUNNING else None
        if self.under_way is None:
            # Its file is complete.
            self.running.writes(None)
        self._hear(report)

    def conclude(self, was_told: bool) -> tuple[str, int]:
        """The last line and the exit code, once the ranks are gone; the run that they were at has failed with it."""
        line, code = self.running.end()
        self.stack.close()
        if self.under_way is not None:
            standing = Standing.DIVERGED if code == ExitCode.DIVERGED else Standing.FAILED
            if was_told or code in _TOLD:
                standing = Standing.STOPPED
            sentence = line.removeprefix("mpidl: ")
            code = code or ExitCode.COMMUNICATION
            self._hear(replace(self.under_way, standing=standing, sentence=sentence, code=int(code)))
        return line, code


class Sweep:
    """All launches of a sweep, `at_once` of them beside each other.

    Ranks execute `program`. What they report of runs goes to `hear`, what they print to `write`, and `look` is called
    several times a second. `found` returns library and launcher, which are looked for once for all launches.
    """

    def __init__(
        self,
        series: Sequence[Sequence[Member]],
        program: Sequence[str],
        at_once: int,
        hear: Callable[[Report], object],
        write: Callable[[bytes], object],
        look: Callable[[], object],
        found: Callable[[], tuple[Library, Launcher]],
    ) -> None:
        self._series = [Series(members) for members in series]
        self._program, self._at_once = program, at_once
        self._hear, self._write, self._look, self._found = hear, write, look, found
        self._attempts: list[Attempt] = []
        self._ending: tuple[str, int] | None = None

    def run(self) -> tuple[str, int]:
        """Until no run is left; else what has ended the sweep before, as a line and an exit code."""
        with forwarding() as forwarded, folders() as ours, ExitStack() as stack:
            while True:
                while len(self._attempts) < self._at_once and not self._is_ending(forwarded):
                    series = self._next()
                    if series is None:
                        break
                    stack.callback(self._start(series, ours.words, forwarded).stack.close)
                if not self._attempts:
                    break
                pass_on([attempt.running for attempt in self._attempts])
                for attempt in [attempt for attempt in self._attempts if attempt.running.over]:
                    self._attempts.remove(attempt)
                    self._conclude(attempt, forwarded)
                self._look()
            if self._ending is None and any(series.left for series in self._series):
                return _told_without_ranks(forwarded)
            return self._ending or ("", ExitCode.DONE)

    def _next(self) -> Series | None:
        """The first series that has a run for one more launch; those that it has take one each."""
        for series in self._series:
            if len(series.left) > sum(attempt.series is series for attempt in self._attempts):
                return series
        return None

    def _start(self, series: Series, claims: Path, forwarded: Forwarded) -> Attempt:
        if not any(attempt.series is series for attempt in self._attempts):
            # Ranks that have died may have taken one, and not begun it.
            unclaim(claims, series.left)
        places = {attempt.place for attempt in self._attempts}
        attempt = Attempt(series, min(set(range(self._at_once)) - places), self._hear)
        first = series.members[0]
        alone = self._at_once == 1
        handed = Handed.of(list(series.left.values()), None if alone else claims, attempt.place * first.ranks)
        launch = Launch(
            first.ranks,
            self._program,
            configuration=handed.packed(),
            stopping=_stopping(first),
            report=attempt.report,
            write=self._write,
            found=self._found,
        )
        attempt.start(launch, forwarded)
        self._attempts.append(attempt)
        return attempt

    def _conclude(self, attempt: Attempt, forwarded: Forwarded) -> None:
        at_a_run = attempt.under_way is not None
        line, code = attempt.conclude(self._was_told(forwarded))
        if code in _TOLD or (code != ExitCode.DONE and self._was_told(forwarded)):
            self._ending = line, code
        elif not at_a_run and line:
            if code != ExitCode.DONE and not attempt.has_begun:
                self._ending = line, code
            else:
                self._write(f"{line}\n".encode(errors="backslashreplace"))

    def _is_ending(self, forwarded: Forwarded) -> bool:
        return self._ending is not None or self._was_told(forwarded)

    def _was_told(self, forwarded: Forwarded) -> bool:
        """Whether somebody has asked for an end."""
        ends = {*INTERRUPTING, *(_stopping(series.members[0]) for series in self._series)}
        return any(number in ends for number in forwarded.received)


def _told_without_ranks(forwarded: Forwarded) -> tuple[str, int]:
    """How a sweep ends that was told to while no ranks were there to be told."""
    codes = (INTERRUPTING.get(signal.Signals(number)) for number in forwarded.received)
    code = next(filter(None, codes), ExitCode.STOPPED)
    if code == ExitCode.STOPPED:
        return "mpidl: stopped while no run was under way; the same command goes on from there", code
    return "mpidl: interrupted", code


def _stopping(member: Member) -> signal.Signals:
    return signal.Signals[f"SIG{member.config.checkpoint.signal}"]
