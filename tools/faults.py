"""What fault_campaign.py does to launches."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fault_checks import LOOK, Fault, checked, look, wait_gone, wrong
from patience import Patience
from processes import descendants, mpirun_of, ranks_of

from mpidl import results
from mpidl.comm.start import presence
from mpidl.errors import MpidlError
from mpidl.results.checkpoints.folder import CheckpointFolder

CAMPAIGN = Path(__file__).with_name("fault_campaign.py")
SIGNALS = ("TERM", "INT", "HUP", "QUIT", "KILL")
STOPPING = "USR2"
# What a launch may take from a fault on, of the time that it had.
SECONDS, MEMORY = 120.0, 16 << 30
CONFIG = """
agents: 4
model: logistic
data: {name: digits, batch: 16}
algorithm: {name: dsgd, lr: 0.1}
graph: ring
train: {rounds: 400, device: cpu}
evaluate: {every: 2}
"""
EVERY = "checkpoint: {every: 40}\n"


@dataclass
class Outcome:
    """What came of it; `trouble` is empty, or says which check failed.

    `starved`: the launch waited for processors longer than it had them, and what failed may be due to that, since
    limits of its own go by the clock; `tries`: how many were given up before for this reason.
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
    mpirun = mpirun_of(process)
    choices = {
        "launcher": [process],
        "mpirun": [] if mpirun is None else [mpirun],
        "a rank": ranks_of(process),
    }[target]
    return int(rng.choice(choices)) if choices else process


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


def kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a launch, if it still runs, with all that it has started."""
    if process.poll() is None:
        for number in descendants(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        process.wait()


def inflict(fault: Fault, seconds: float, folder: Path) -> Outcome | float:
    """One launch, the fault, and the checks; or what the launch took, where it was over before the fault.

    `seconds` is the processor time that such a launch takes.
    """
    with disk(folder, fault.kind == "full disk") as place, contextlib.ExitStack() as stack:
        output = place / "run.h5"
        process, clock = start(fault, folder, output), Patience(2 * SECONDS)
        stack.callback(kill, process)

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
            kill(process)
        (place / "filler").unlink(missing_ok=True)
        alive = wait_gone(everyone)
        status, records = look(output)
        told, code = (folder / "stderr").read_text(errors="replace"), process.returncode
        certain = wrong(fault, code, output, seen, told)
        trouble = certain or trouble or checked(fault, target, process, output, status, alive, folder)
        return Outcome(
            *(fault.number, fault.kind, fault.what, fault.target, fault.trains, code, status, records),
            *(len(CheckpointFolder(output).rounds()), trouble, clock.starved and not certain),
        )
