"""The check-up: one area after another, on all ranks together, and an end to what hangs."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mpidl.comm.probe import RollCall
from mpidl.comm.world import World
from mpidl.errors import ExitCode, MpidlError
from mpidl.selftest.area import Area, Fault, NotHere, Outcome, Site, Verdict
from mpidl.sentences import describe, printable

# Short enough for every MPI to send it without being waited for.
_LONGEST = 600
# For rank 0, whose watch has said by then what hangs, to end all ranks.
_GRACE = 5.0

_CURE = "see what that rank's host and network do, or give a slow machine more with --patience"
_PACKAGE = str(Path(__file__).parents[1]) + os.sep
Late = Callable[[Verdict, ExitCode], None]


class Failed(MpidlError):
    """Areas of the check-up failed; the exit code is that of the first."""

    def __init__(self, verdicts: Sequence[Verdict], code: ExitCode) -> None:
        names = [verdict.area for verdict in verdicts if verdict.outcome == "failed"]
        super().__init__(f"{len(names)} of {len(verdicts)} areas failed: {', '.join(names)}")
        self.exit_code = code


def examine(
    site: Site, areas: Sequence[Area], patience: float, say: Callable[[Verdict], None], late: Late
) -> list[Verdict]:
    """The verdicts, the same on all ranks; `say` is told each as it comes, on rank 0. A collective call.

    An area that takes longer than `patience` seconds is named to `late`, in a thread of rank 0; that is to end all.
    """
    roll_call, verdicts = RollCall(site.world), list[Verdict]()
    for area in areas:
        failed = {verdict.area for verdict in verdicts if verdict.outcome == "failed"}
        missing = next((need for need in area.needs if need in failed), None)
        if missing is None:
            lateness = _Lateness(site.world, area, roll_call, patience, late)
            with within(patience + (_GRACE if site.world.rank else 0.0), lateness.tell):
                answers = roll_call.answer(_tried(area, site))
                verdict = _agreed(site.world, area, answers)
        else:
            verdict = Verdict(area.name, "skipped", f"it needs {missing}")
        verdicts.append(verdict)
        if site.world.rank == 0:
            say(verdict)
    roll_call.close()
    return verdicts


def require_all(verdicts: Sequence[Verdict], areas: Sequence[Area]) -> None:
    """Raises Failed where any has."""
    for verdict, area in zip(verdicts, areas, strict=True):
        if verdict.outcome == "failed":
            raise Failed(verdicts, area.code)


def _tried(area: Area, site: Site) -> list[str]:
    """What the area comes to on this rank: outcome and text."""
    outcome: Outcome = "passed"
    try:
        text = area.check(site)
    except NotHere as reason:
        outcome, text = "skipped", str(reason)
    except Fault as fault:
        outcome, text = "failed", str(fault)
    except Exception as error:
        # Whatever it is, it is what the check-up was to find, and is told.
        outcome, text = "failed", describe(error)[0]
    return [outcome, printable(text, _LONGEST)]


def _agreed(world: World, area: Area, answers: Sequence[Sequence[str]]) -> Verdict:
    """What all ranks make of it: the worst that any has to say. A collective call."""
    said = world.bcast_text(json.dumps(_worst(area, dict(enumerate(answers))) if world.rank == 0 else []))
    outcome, text = json.loads(said)
    return Verdict(area.name, outcome, text)


def _worst(area: Area, answers: dict[int, Sequence[str]]) -> tuple[Outcome, str]:
    outcomes: tuple[Outcome, ...] = ("failed", "skipped", "passed")
    for outcome in outcomes:
        texts = {rank: text for rank, (found, text) in answers.items() if found == outcome}
        if texts:
            rank, text = next(iter(texts.items()))
            alike = len(answers) == 1 or outcome != "failed" or list(texts.values()).count(text) == len(answers)
            return outcome, text if alike else f"rank {rank}: {text}"
    raise ValueError(f"nobody has said anything of {area.name}")


@contextmanager
def within(seconds: float, late: Callable[[], None]) -> Iterator[None]:
    """Calls `late`, in another thread, if this lasts longer.

    MPI gives no way to leave a call that waits: whoever is late can only be told of, and the process ended.
    """
    over = threading.Event()

    def watch() -> None:
        if not over.wait(seconds):
            late()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        # Who is told of as late says nothing more, though it came to an end meanwhile.
        watcher.join()


class _Lateness:
    """What is to be said of an area that has had its time."""

    def __init__(self, world: World, area: Area, roll_call: RollCall, patience: float, late: Late) -> None:
        self._world, self._area, self._roll_call, self._patience, self._late = world, area, roll_call, patience, late
        self._main = threading.get_ident()

    def tell(self) -> None:
        """In another thread than the one that is late."""
        # Another rank speaks only where rank 0 does not.
        what = f"rank {self._world.rank} waits in vain; {_CURE}" if self._world.rank else self._what()
        self._late(Verdict(self._area.name, "failed", what), self._area.code)

    def _what(self) -> str:
        heard = self._roll_call.heard()
        failed = {rank: answer for rank, answer in heard.items() if answer[0] == "failed"}
        if failed:
            rank, (_, text) = min(failed.items())
            return f"rank {rank}: {text}"
        missing = [str(rank) for rank in range(self._world.size) if rank not in heard]
        who = f"rank{'s' * (len(missing) > 1)} {', '.join(missing[:8])}{', …' * (len(missing) > 8)}"
        at = f" (rank 0 is in {self._where()})" if 0 not in heard else ""
        return f"{who} did not come to an end within {self._patience:g} s{at}; {_CURE}"

    def _where(self) -> str:
        """The innermost line of mpidl's at which the main thread stands."""
        frame = sys._current_frames().get(self._main)
        lines = [
            f"{each.f_code.co_filename.removeprefix(_PACKAGE)}, line {line}"
            for each, line in ([] if frame is None else traceback.walk_stack(frame))
            if each.f_code.co_filename.startswith(_PACKAGE)
        ]
        return lines[0] if lines else "no line of mpidl"
