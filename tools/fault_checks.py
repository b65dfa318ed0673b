"""What campaigns check when a launch has ended that something was done to, and the faults of fault_campaign.py."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from kill_campaign import lost
from patience import Patience
from processes import name_of

from mpidl import results
from mpidl.comm.start import presence
from mpidl.errors import ExitCode, MpidlError
from mpidl.launch import folders
from mpidl.results.checkpoints.folder import CheckpointFolder

# Within which all processes of a launch have to be gone after it, of the time that they had.
GONE_SECONDS = 5.0
# Of a launch that trains, and of one that does not.
RECORDS, ROUNDS = 201, 120
# Between two looks at a launch.
LOOK = 0.05


@dataclass(frozen=True)
class Fault:
    """One fault: `what` is done to `target` at `moment`, a fraction of the processor time that a launch takes.

    `trains`: to a real training run; `keeps`: which writes checkpoints as it goes.
    """

    number: int
    kind: str
    what: str
    target: str
    moment: float
    trains: bool = False
    keeps: bool = False


def wait_gone(processes: dict[int, int | None]) -> list[int]:
    """Those of a launch that still run some time after it."""
    clock = Patience(GONE_SECONDS)
    while left := [number for number, began in processes.items() if began and presence.started(number) == began]:
        if clock.over(left):
            return left
        time.sleep(LOOK)
    return []


def look(output: Path) -> tuple[str, int]:
    try:
        run = results.open(output)
    except MpidlError:
        return "none", 0
    return run.status, run.records


def wrong(fault: Fault, code: int, output: Path, seen: results.Run | None, told: str) -> str:
    """What must not be, however long a launch has waited for processors."""
    at_once = fault.kind == "signal" and code == -signal.Signals[f"SIG{fault.what}"]
    # What does not train is a program of the campaign's, which imports modules before it answers an interrupt.
    importing = fault.what == "INT" and not fault.trains and not output.exists()
    if "Traceback" in told and not (at_once or importing):
        return f"a traceback: {' | '.join(told.splitlines()[-12:])}"
    if fault.kind == "folder gone":
        return ""
    return lost(output, None, seen) or damaged(output, code == ExitCode.STOPPED)


def damaged(output: Path, due: bool) -> str:
    """What is wrong with the checkpoints; `due`: one of them is there, as where a run says that it can go on."""
    # It imports torch, and these programs are also what the light launches run.
    from mpidl.results.checkpoints import reader

    folder = CheckpointFolder(output)
    if due and not folder.rounds():
        return "no checkpoint is there"
    try:
        for round in folder.rounds():
            reader.open(folder.of_round(round)).verify()
    except MpidlError as error:
        return str(error)
    return ""


def checked(
    fault: Fault,
    target: str,
    process: subprocess.Popen[bytes],
    output: Path,
    status: str,
    alive: list[int],
    folder: Path,
) -> str:
    """Which other check fails, if one does."""
    code, told = process.returncode, (folder / "stderr").read_text(errors="replace")
    killed = fault.what == "KILL" and target == "launcher"
    # Before Python has set up its handlers, and after its work, a signal ends the launcher as it ends any program.
    done = look(output) == ("finished", RECORDS if fault.trains else ROUNDS)
    at_once = fault.kind == "signal" and code == -signal.Signals[f"SIG{fault.what}"] and (done or not output.exists())
    if code not in set(ExitCode) - {ExitCode.INTERNAL} and not (killed and code == -signal.SIGKILL) and not at_once:
        return f"exit code {code}: {told.splitlines()[-1:]}"
    if alive:
        return f"processes live on: {[name_of(number) for number in alive]}"
    if fault.kind != "folder gone":
        expected = {0: "finished", 75: "interrupted", 130: "interrupted", 143: "interrupted", 5: "failed"}
        if status == "running" and not killed and code != ExitCode.NOT_SAVED:
            return f"the file says that it runs, exit code {code}"
        if status not in ("none", "running") and not done and status != expected.get(code, status):
            return f"the file says {status}, exit code {code}"
        if fault.kind in ("stopped", "locking reader") and code != 0:
            return f"exit code {code}, though nothing was broken: {told.splitlines()[-1:]}"
    os.environ["TMPDIR"], tempfile.tempdir = str(folder / "tmp"), None
    if killed:
        folders.remove_abandoned()
    left = list((folder / "tmp").iterdir())
    left += folders.SHARED_MEMORY.glob(f"mpidl-*-{process.pid}-*")
    expected_there = {output} | ({CheckpointFolder(output).path} if CheckpointFolder(output).rounds() else set())
    if killed:
        expected_there.add(output.with_name(f"{output.name}.lock"))
    left += set(output.parent.glob("*")) - expected_there
    return f"left behind: {', '.join(path.name for path in left)}" if left else ""
