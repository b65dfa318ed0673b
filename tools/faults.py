"""What fault_campaign.py does to launches, and what it checks when they have ended."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from kill_campaign import descendants, lost
from patience import Patience

from mpidl import results
from mpidl.comm.start import presence
from mpidl.errors import ExitCode, MpidlError
from mpidl.launch import folders
from mpidl.results.checkpoints import reader
from mpidl.results.checkpoints.folder import CheckpointFolder

CAMPAIGN = Path(__file__).with_name("fault_campaign.py")
SIGNALS = ("TERM", "INT", "HUP", "QUIT", "KILL")
STOPPING = "USR2"
# What a launch may take from a fault on, of the time that it had.
SECONDS, MEMORY = 120.0, 16 << 30
# Within which all processes of a launch have to be gone after it, so counted, too.
GONE_SECONDS = 5.0
ROUNDS = 120
CONFIG = """
agents: 4
model: logistic
data: {name: digits, batch: 16}
algorithm: {name: dsgd, lr: 0.1}
graph: ring
train: {rounds: 400, device: cpu}
evaluate: {every: 2}
"""
RECORDS = 201
EVERY = "checkpoint: {every: 40}\n"
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


@dataclass
class Outcome:
    """What came of it; `trouble` is empty, or says which check failed.

    `starved`: the launch waited for processors longer than it had them, so that limits of its own may have passed;
    `tries`: how many were given up before, since they were, and failed.
    """

    number: int
    kind: str
    what: str
    target: str
    trains: bool
    code: int
    status: str
    records: int
    checkpoints: int
    trouble: str
    starved: bool
    tries: int = 0


def start(fault: Fault, folder: Path, output: Path) -> subprocess.Popen[bytes]:
    if fault.trains:
        config = folder / "config.yaml"
        config.write_text(CONFIG + EVERY * fault.keeps)
        command = [sys.executable, "-P", "-m", "mpidl", "run", str(config), "-n", "2", "-o", str(output)]
    else:
        command = [sys.executable, str(CAMPAIGN), "--launch", str(output)]
    temporary = folder / "tmp"
    temporary.mkdir()
    return subprocess.Popen(
        command,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "stderr").open("wb"),
        start_new_session=True,
        preexec_fn=_alone,
    )


def _alone() -> None:
    """What a launch does not share with the campaign: its memory is limited, and it ignores no signal.

    A shell has ignored some, and so has nohup, where the campaign runs in the background.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for name in (*SIGNALS, STOPPING):
        if name != "KILL":
            signal.signal(signal.Signals[f"SIG{name}"], signal.SIG_DFL)


def find(process: int, target: str, rng: np.random.Generator) -> int:
    """The process of this launch that the target names; as long as there is none, the launch itself."""
    found = descendants(process)
    names = {number: command(number) for number in found[1:]}
    mpirun = [number for number, name in names.items() if name.startswith(("prterun", "mpirun", "mpiexec"))]
    ranks = [number for number, name in names.items() if name.startswith("python") and mpirun and number > mpirun[0]]
    choices = {"launcher": [process], "mpirun": mpirun[:1], "a rank": ranks}[target]
    return int(rng.choice(choices)) if choices else process


def command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text()
    except OSError:
        return ""


@contextlib.contextmanager
def disk(folder: Path, small: bool) -> Iterator[Path]:
    """The folder for the output, on a disk of its own of 1 MiB where it is to be small."""
    place = folder / "out"
    place.mkdir()
    if small:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        if small:
            subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> None:
    """Takes all room that is left on a disk."""
    with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 512)


HOLD = "import h5py,sys,time\nwith h5py.File(sys.argv[1],'r',locking=True): print('held',flush=True); time.sleep(0.5)"


def do(fault: Fault, process: subprocess.Popen[bytes], output: Path) -> str:
    """Does the harm; returns to which process it was done."""
    rng = np.random.default_rng(fault.number)
    place = output.parent
    if fault.kind in ("signal", "stopped"):
        number = find(process.pid, fault.target, rng)
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGSTOP if fault.kind == "stopped" else signal.Signals[f"SIG{fault.what}"])
            if fault.kind == "stopped":
                time.sleep(rng.uniform(0.2, 1.0))
                os.kill(number, signal.SIGCONT)
        return fault.target if number != process.pid else "launcher"
    if fault.kind == "full disk":
        fill(place)
        if fault.what == "for a while":
            time.sleep(rng.uniform(0.1, 0.5))
            (place / "filler").unlink(missing_ok=True)
    elif fault.kind == "folder gone":
        shutil.rmtree(place, ignore_errors=True)
    else:
        while process.poll() is None:
            environment = os.environ | {"HDF5_USE_FILE_LOCKING": "TRUE"}
            subprocess.run([sys.executable, "-c", HOLD, str(output)], capture_output=True, env=environment, check=False)
    return ""


def follow(output: Path, until: Callable[[], bool]) -> results.Run | None:
    """Reads the file that is being written as often as it can until then; returns what it saw last."""
    seen = None
    while not until():
        if output.exists():
            # It is being made, or closed, or its disk is full: what was seen before counts.
            with contextlib.suppress(MpidlError, OSError):
                now = results.open(output)
                seen = now if now.records else seen
        time.sleep(LOOK)
    return seen


def ended(process: subprocess.Popen[bytes], clock: Patience) -> bool:
    """Waits until a launch has ended, as long as there is patience; returns whether it has."""
    while process.poll() is None:
        if clock.over(descendants(process.pid)):
            return False
        time.sleep(LOOK)
    return True


def inflict(fault: Fault, seconds: float, folder: Path) -> Outcome | float:
    """One launch, the fault, and the checks; or what the launch took, where it was over before the fault.

    `seconds` is the processor time that such a launch takes.
    """
    with disk(folder, fault.kind == "full disk") as place:
        output = place / "run.h5"
        process, clock = start(fault, folder, output), Patience(2 * SECONDS)

        def has_come() -> bool:
            late = clock.over(descendants(process.pid))
            return late or clock.ran > fault.moment * seconds or process.poll() is not None

        seen = follow(output, has_come)
        if process.poll() is not None:
            return clock.ran
        everyone = {number: presence.started(number) for number in descendants(process.pid)}
        target = do(fault, process, output)
        everyone |= {number: presence.started(number) for number in descendants(process.pid)}
        trouble, clock.seconds = "", SECONDS
        if not ended(process, clock):
            trouble = f"it had not ended after {SECONDS:.0f} s"
            for number in descendants(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            process.wait()
        (place / "filler").unlink(missing_ok=True)
        alive = wait_gone(everyone)
        status, records = look(output)
        trouble = trouble or checked(fault, target, process, output, seen, status, alive, folder)
        return Outcome(
            *(fault.number, fault.kind, fault.what, fault.target, fault.trains, process.returncode, status, records),
            *(len(CheckpointFolder(output).rounds()), trouble, clock.starved),
        )


def wait_gone(processes: dict[int, int | None]) -> list[int]:
    """Those of a launch that still run some time after it."""
    clock = Patience(GONE_SECONDS)
    while left := [number for number, began in processes.items() if began and presence.started(number) == began]:
        if clock.over(left):
            return left
        time.sleep(LOOK)
    return []


def damaged(output: Path, code: int) -> str:
    """What is wrong with the checkpoints, one of which is there where a run says that it can go on."""
    folder = CheckpointFolder(output)
    if code == ExitCode.STOPPED and not folder.rounds():
        return "stopped without a checkpoint"
    try:
        for round in folder.rounds():
            reader.open(folder.of_round(round)).verify()
    except MpidlError as error:
        return str(error)
    return ""


def look(output: Path) -> tuple[str, int]:
    try:
        run = results.open(output)
    except MpidlError:
        return "none", 0
    return run.status, run.records


def checked(
    fault: Fault,
    target: str,
    process: subprocess.Popen[bytes],
    output: Path,
    seen: results.Run | None,
    status: str,
    alive: list[int],
    folder: Path,
) -> str:
    """Which check fails, if one does."""
    code, told = process.returncode, (folder / "stderr").read_text(errors="replace")
    killed = fault.what == "KILL" and target == "launcher"
    # Before Python has set up its handlers, and after its work, a signal ends the launcher as it ends any program.
    done = look(output) == ("finished", RECORDS if fault.trains else ROUNDS)
    at_once = fault.kind == "signal" and code == -signal.Signals[f"SIG{fault.what}"] and (done or not output.exists())
    if "Traceback" in told and not at_once:
        return f"a traceback: {told.splitlines()[-1]}"
    if code not in set(ExitCode) - {ExitCode.INTERNAL} and not (killed and code == -signal.SIGKILL) and not at_once:
        return f"exit code {code}: {told.splitlines()[-1:]}"
    if alive:
        return f"processes live on: {[command(number).strip() for number in alive]}"
    if fault.kind != "folder gone":
        if problem := lost(output, None, seen):
            return problem
        expected = {0: "finished", 75: "interrupted", 130: "interrupted", 143: "interrupted", 5: "failed"}
        if status == "running" and not killed and code != ExitCode.NOT_SAVED:
            return f"the file says that it runs, exit code {code}"
        if status not in ("none", "running") and not done and status != expected.get(code, status):
            return f"the file says {status}, exit code {code}"
        if problem := damaged(output, code):
            return problem
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
