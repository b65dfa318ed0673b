"""How a run ends when a rank fails: within seconds, on all ranks, with one line and an exit code.

A rank that fails tells the others and waits a moment for what they have to tell. Of those that had heard of no other
failure when theirs came, the lowest speaks: what fails because another rank has gone stays silent, and an error that
all ranks find is reported once. Then it aborts MPI: ranks that are waiting for a message cannot be told to stop. Where
ranks outlive others (`survivors.py`), MPI_Abort ends nobody else; there it ends every wait, and all leave by
themselves.

mpirun adds lines of its own after ours. So where `mpidl run` has started it, the speaker leaves its line to that
(`presence.py`), and it is printed when mpirun has ended.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mpidl.comm.start import launchers, presence, sentinel
from mpidl.comm.start.presence import FAILURE_FILE
from mpidl.errors import CommunicationError, ExitCode, Interruption, LaunchError, Stopped, Told
from mpidl.sentences import describe

if TYPE_CHECKING:
    from mpi4py import MPI

DEBUG = "MPIDL_DEBUG"
# How long failing ranks wait for each other: an error that all find reaches them at slightly different times.
GRACE_SECONDS = 1.0
# How long a rank looks for failures that came before its own: a message is not there at the first look.
LOOK_SECONDS = 0.05
# Time for mpirun to pass on what was printed: an abort can overtake it.
FLUSH_SECONDS = 0.2
# The largest that every MPI has. Everything else of mpidl goes over communicators of its own, not over the caller's.
NOTICE_TAG = 32767


@dataclass(frozen=True)
class Failure:
    """What one rank has to say; `first` unless it had heard of another failure before its own."""

    rank: int
    host: str
    sentence: str
    exit_code: int
    first: bool = True


@contextmanager
def guard(comm: MPI.Intracomm | None = None) -> Iterator[None]:
    """Around all that a rank does, even before MPI starts: an error inside ends all ranks, with one line for all.

    `comm`: the ranks that run together, if they are not all there are. Whatever a user's code raises is an error, be it
    SystemExit or GeneratorExit: a rank that left alone would leave the others waiting for it.
    """
    place = launchers.find(os.environ)
    with sentinel.watched(_interrupted) if place.launcher else sentinel.interruptible():
        presence.leave(place.rank)
        try:
            yield
        except Stopped as stop:
            # Told on all ranks alike, none of which waits for another.
            if _is_first(place):
                _speak(stop, str(stop), stop.exit_code)
            presence.complete(place.rank)
            _leave_bereaved(stop.exit_code)
            raise Told(stop.exit_code) from stop
        except BaseException as error:
            try:
                _end(error, comm)
            except Interruption:
                # By mpirun, since another rank has said by now what it was.
                os._exit(ExitCode.ENDED)
        presence.complete(place.rank)
        _leave_bereaved(ExitCode.DONE)


def refuse_before_mpi(error: Exception) -> NoReturn:
    """Raises what all ranks see before MPI starts: the first speaks, and none starts MPI only to abort it, which the
    launcher would explain at length. Another one speaks where the first has not ended all by now.
    """
    time.sleep(GRACE_SECONDS if launchers.find(os.environ).rank else 0)
    raise error


def leave(sentence: str, exit_code: ExitCode) -> NoReturn:
    """Ends this process from any of its threads, with this line, and so all ranks: where the main one cannot."""
    _speak(TimeoutError(sentence), sentence, exit_code)
    time.sleep(FLUSH_SECONDS)
    os._exit(exit_code)


def read(path: str | Path) -> tuple[str, int] | None:
    """The line and the exit code that a failed run has left in its failure file, if it has left any."""
    try:
        failure = json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return failure["line"], failure["exit_code"]


def _end(error: BaseException, comm: MPI.Intracomm | None) -> NoReturn:
    sentence, exit_code = describe(error)
    if exit_code == ExitCode.INTERNAL:
        sentence += f" ({DEBUG}=1 shows where)"
    place = launchers.find(os.environ)
    if isinstance(error, Interruption):
        _leave(place)
    world = comm if comm is not None and comm.size > 1 else _all_ranks(place)
    if world is None:
        # Processes that a launcher started, but that MPI did not join, all fail alike: one speaks, while others wait.
        if place.rank == 0:
            _speak(error, sentence, exit_code)
        else:
            time.sleep(GRACE_SECONDS)
        raise Told(exit_code)

    from mpi4py import MPI

    from mpidl.comm import survivors

    mine = Failure(world.rank, socket.gethostname(), sentence, exit_code)
    try:
        failures = _exchange(world, mine)
    except MPI.Exception:
        # MPI itself is broken; this rank can only speak for itself.
        failures = [mine]
    speaker = min((failure for failure in failures if failure.first), key=lambda failure: failure.rank, default=mine)
    if speaker.rank != world.rank:
        # The speaker is about to end this rank, unless it has died.
        if survivors.supported():
            _end_all(speaker.exit_code)
        time.sleep(GRACE_SECONDS + 10 * FLUSH_SECONDS)
    alike = len(failures) == len(survivors.living(world)) and len({failure.sentence for failure in failures}) == 1
    where = f"all {len(failures)} ranks" if alike and len(failures) > 1 else f"rank {world.rank} on {mine.host}"
    _speak(error, f"{where}: {sentence}", exit_code)
    time.sleep(FLUSH_SECONDS)
    _end_all(exit_code)


def end_at_once(sentence: str) -> NoReturn:
    """Ends all ranks, from another thread than the one that may wait inside MPI for ever."""
    from mpi4py import MPI

    from mpidl.comm import survivors

    world, error = MPI.COMM_WORLD, CommunicationError(sentence)
    mine = asdict(Failure(world.rank, socket.gethostname(), sentence, error.exit_code))
    requests = [world.isend(mine, rank, NOTICE_TAG) for rank in survivors.living(world) if rank != world.rank]
    _speak(error, sentence, error.exit_code)
    time.sleep(FLUSH_SECONDS)
    MPI.Request.Testall(requests)
    _end_all(error.exit_code)


def announced(world: MPI.Intracomm) -> bool:
    """Whether another rank has told that it failed, and ends them all."""
    from mpidl.comm import survivors

    deadline = time.monotonic() + LOOK_SECONDS
    while not (told := survivors.probed(world, NOTICE_TAG)) and time.monotonic() < deadline:
        time.sleep(0.005)
    return told


def _is_first(place: launchers.Place) -> bool:
    """Whether this is the lowest rank that is left."""
    if "mpi4py.MPI" not in sys.modules:
        return place.rank == 0

    from mpi4py import MPI

    from mpidl.comm import survivors

    return place.rank == 0 if not survivors.supported() else survivors.living(MPI.COMM_WORLD)[0] == place.rank


def _leave_bereaved(code: int) -> None:
    """Ends this process at once where other ranks have died."""
    if "mpi4py.MPI" in sys.modules:
        from mpidl.comm import survivors

        survivors.leave(code)


def _end_all(code: int) -> NoReturn:
    """Ends all ranks."""
    from mpi4py import MPI

    from mpidl.comm import survivors

    if survivors.supported():
        survivors.revoke()
        sys.stderr.flush()
        os._exit(code)
    MPI.COMM_WORLD.Abort(code)
    raise Told(code)


def _leave(place: launchers.Place) -> NoReturn:
    """The end of a rank that is told to end, as all are when mpirun is, or when one of them has failed: without talk.

    MPI may be on its way down by then.
    """
    world = None
    if "mpi4py.MPI" in sys.modules:
        from mpi4py import MPI

        world = MPI.COMM_WORLD if MPI.Is_initialized() and not MPI.Is_finalized() else None
    if FAILURE_FILE in os.environ:
        _interrupted()
    elif place.rank == 0 and (world is None or not announced(world)):
        # The first speaks for all, unless another has told it that it failed.
        _speak(Interruption(), "interrupted", ExitCode.ENDED)
    if world is not None:
        # This may be the only rank that was told.
        _end_all(ExitCode.ENDED)
    raise Told(ExitCode.ENDED)


def _interrupted() -> None:
    """Leaves to `mpidl run`, if that has started this rank, that it was told to end, unless one has said why."""
    if FAILURE_FILE in os.environ:
        _speak(Interruption(), "interrupted", ExitCode.ENDED)


def _all_ranks(place: launchers.Place) -> MPI.Intracomm | None:
    """The communicator of all ranks, for which MPI is started if need be; None for a process alone."""
    if place.launcher is None and "mpi4py.MPI" not in sys.modules:
        return None

    from mpi4py import MPI

    from mpidl.comm.start.joining import join

    if MPI.Is_finalized() or (place.launcher is None and not MPI.Is_initialized()):
        return None
    if not MPI.Is_initialized():
        # Others of this launch may be failing in the same way: it takes MPI to find out who speaks.
        with suppress(LaunchError):
            join(place)
    return MPI.COMM_WORLD if MPI.Is_initialized() and MPI.COMM_WORLD.size > 1 else None


def _exchange(world: MPI.Intracomm, mine: Failure) -> list[Failure]:
    """The failures of all ranks that fail within the grace time, this one's first."""
    from mpi4py import MPI

    from mpidl.comm import survivors

    others = [rank for rank in survivors.living(world) if rank != world.rank]
    heard = _listen(world, len(others), LOOK_SECONDS)
    mine = replace(mine, first=not heard)
    # Short enough to leave without being received: the other ranks may never look.
    requests = []
    for rank in others:
        # Who has spoken, and has gone meanwhile, need not be told.
        with suppress(MPI.Exception):
            requests.append(world.isend(asdict(mine), rank, NOTICE_TAG))
    heard += _listen(world, len(others) - len(heard), GRACE_SECONDS)
    with suppress(MPI.Exception):
        MPI.Request.Testall(requests)
    return [mine, *heard]


def _listen(world: MPI.Intracomm, most: int, seconds: float) -> list[Failure]:
    """The failures that others tell of within this time, some of which may be gone by then."""
    from mpidl.comm import survivors

    deadline = time.monotonic() + seconds
    heard: list[Failure] = []
    while len(heard) < most and time.monotonic() < deadline:
        if survivors.probed(world, NOTICE_TAG):
            heard.append(Failure(**world.recv(tag=NOTICE_TAG)))
        else:
            time.sleep(0.005)
    return heard


def _speak(error: BaseException, text: str, exit_code: int) -> None:
    """Leaves the line to `mpidl run`, if that has started this rank, or prints it here."""
    line = f"mpidl: {text}"
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    if FAILURE_FILE in os.environ:
        # Where another rank has spoken, this one adds to it, unless it was only told to end.
        adds = "" if exit_code == ExitCode.ENDED else line
        if presence.fail(json.dumps({"line": line, "exit_code": exit_code}), adds) or not adds:
            return
    sys.stdout.flush()
    print(line, file=sys.stderr, flush=True)
