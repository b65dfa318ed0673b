"""Does at random moments to running launches what happens to them, and checks that each ends as it should.

    python tools/fault_campaign.py --faults 300 --table tools/results/fault_campaign.md

A fault is a signal to `mpidl run`, to its mpirun or to a rank; one of these stopped for a while; a disk that is full,
for a while or for good; an output folder that is gone; a reader that holds HDF5's lock. Four launches in five are of
ranks that only sum over all ranks and flush records, so that most faults meet MPI or a flush; the fifth trains.

Each launch runs with limits of time and memory, in folders of its own. After it: it has ended in time, with no
traceback and with an exit code that the README lists; every record that was seen before the fault is in the file, with
its values, and the file says how the run ended; no process of it lives, and the temporary folder, shared memory and the
output folder hold nothing else. After a kill -9 of `mpidl run` itself the next launch has to clear up.

All is drawn from the seed and the fault's number, and every result is a line of `--state`, so that a campaign that was
broken off goes on where it was. Moments are fractions of a launch without a fault, measured at first and whenever one
ends before its moment, which is tried again. Full disks need the right to mount. Exit code 1 if any check fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from kill_campaign import descendants, lost

from mpidl import results
from mpidl.comm.start import presence
from mpidl.errors import ExitCode, MpidlError
from mpidl.launch import folders
from mpidl.sentences import describe

SIGNALS = ("TERM", "INT", "HUP", "QUIT", "KILL")
TARGETS = ("launcher", "mpirun", "a rank")
# How often each kind of fault is drawn.
KINDS = {"signal": 0.66, "stopped": 0.1, "full disk": 0.08, "folder gone": 0.08, "locking reader": 0.08}
SECONDS, MEMORY = 120.0, 16 << 30
# Within which all processes of a launch have to be gone after it.
GONE_SECONDS = 5.0
ROUNDS, PAUSE = 120, 0.005
CONFIG = """
agents: 4
model: logistic
data: {name: digits, batch: 16}
algorithm: {name: dsgd, lr: 0.1}
graph: ring
train: {rounds: 400, device: cpu}
evaluate: {every: 2}
"""


@dataclass(frozen=True)
class Fault:
    """One fault: `what` is done to `target` at `moment`, a fraction of the launch; `trains`: to a real training run."""

    number: int
    kind: str
    what: str
    target: str
    moment: float
    trains: bool


@dataclass
class Outcome:
    """What came of it; `trouble` is empty, or says which check failed."""

    number: int
    kind: str
    what: str
    target: str
    trains: bool
    code: int
    status: str
    records: int
    trouble: str


def draw(number: int, seed: int) -> Fault:
    """The fault of this number."""
    rng = np.random.default_rng([seed, number])
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    target, what = str(rng.choice(TARGETS)), ""
    if kind == "signal":
        what = str(rng.choice(SIGNALS))
    elif kind == "full disk":
        target, what = "", str(rng.choice(["for a while", "for good"]))
    elif kind != "stopped":
        target = ""
    return Fault(number, kind, what, target, float(rng.uniform(0, 1)), bool(rng.uniform() < 0.2))


def rank(output: Path) -> None:
    """A rank of the launches that do not train."""
    from mpi4py import MPI

    from mpidl.comm.start.failures import guard
    from mpidl.results.run_file import RunFile

    with guard():
        MPI.Init_thread(MPI.THREAD_MULTIPLE)
        comm, run = MPI.COMM_WORLD, None
        presence.leave(comm.rank)
        if comm.rank == 0:
            run = RunFile.create(output, {"name": "fault"}, {"hosts": ["here"]}, None, comm.size)
        status = "failed"
        try:
            for number in range(ROUNDS):
                total = comm.allreduce(number)
                time.sleep(PAUSE)
                if run is not None:
                    run.append({"round": number, "seconds": number / 2, "sum": total})
                    # As in training, what cannot be saved stops nothing and is tried again.
                    with contextlib.suppress(MpidlError):
                        run.flush()
            status = "finished"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            if run is not None:
                run.finish(status)


def launch(program: list[str], output: Path) -> int:
    """What `mpidl run` does without a look at a configuration."""
    from mpidl.comm.start.sentinel import interruptible
    from mpidl.launch.process import Launch

    try:
        with interruptible():
            return Launch(2, program, output).run()
    except (MpidlError, KeyboardInterrupt) as error:
        sentence, code = describe(error)
        print(f"mpidl: {sentence}", file=sys.stderr)
        return code


def start(fault: Fault, folder: Path, output: Path) -> subprocess.Popen[bytes]:
    if fault.trains:
        config = folder / "config.yaml"
        config.write_text(CONFIG)
        command = [sys.executable, "-P", "-m", "mpidl", "run", str(config), "-n", "2", "-o", str(output)]
    else:
        command = [sys.executable, __file__, "--launch", str(output)]
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
    for name in SIGNALS:
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
        time.sleep(0.02)
    return seen


def inflict(fault: Fault, seconds: float, folder: Path) -> Outcome | float:
    """One launch, the fault, and the checks; or how long the launch took, where it was over before the fault."""
    with disk(folder, fault.kind == "full disk") as place:
        output = place / "run.h5"
        process = start(fault, folder, output)
        begin = time.monotonic()
        seen = follow(output, lambda: time.monotonic() > begin + fault.moment * seconds or process.poll() is not None)
        if process.poll() is not None:
            return time.monotonic() - begin
        everyone = {number: presence.started(number) for number in descendants(process.pid)}
        target = do(fault, process, output)
        everyone |= {number: presence.started(number) for number in descendants(process.pid)}
        trouble = ""
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
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
            fault.number, fault.kind, fault.what, target, fault.trains, process.returncode, status, records, trouble
        )


def wait_gone(processes: dict[int, int | None]) -> list[int]:
    """Those of a launch that still run some time after it."""
    deadline = time.monotonic() + GONE_SECONDS
    while left := [number for number, began in processes.items() if began and presence.started(number) == began]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.05)
    return []


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
    # Before Python has set up its handlers a signal ends the launcher as it ends any program.
    at_once = fault.kind == "signal" and code == -signal.Signals[f"SIG{fault.what}"] and not output.exists()
    if "Traceback" in told:
        return f"a traceback: {told.splitlines()[-1]}"
    if code not in set(ExitCode) - {ExitCode.INTERNAL} and not (killed and code == -signal.SIGKILL) and not at_once:
        return f"exit code {code}: {told.splitlines()[-1:]}"
    if alive:
        return f"processes live on: {[command(number).strip() for number in alive]}"
    if fault.kind != "folder gone":
        if problem := lost(output, None, seen):
            return problem
        # What comes between a rank's last flush and its end finds the work done.
        complete = look(output) == ("finished", 201 if fault.trains else ROUNDS)
        expected = {0: "finished", 130: "interrupted", 143: "interrupted", 5: "failed"}
        if status == "running" and not killed and code != ExitCode.NOT_SAVED:
            return f"the file says that it runs, exit code {code}"
        if status not in ("none", "running") and not complete and status != expected.get(code, status):
            return f"the file says {status}, exit code {code}"
        if fault.kind in ("stopped", "locking reader") and code != 0:
            return f"exit code {code}, though nothing was broken: {told.splitlines()[-1:]}"
    os.environ["TMPDIR"], tempfile.tempdir = str(folder / "tmp"), None
    if killed:
        folders.remove_abandoned()
    left = list((folder / "tmp").iterdir())
    left += folders.SHARED_MEMORY.glob(f"mpidl-*-{process.pid}-*")
    left += [path for path in output.parent.glob("*") if path != output and not (killed and path.suffix == ".lock")]
    return f"left behind: {', '.join(path.name for path in left)}" if left else ""


def usual(trains: bool, folder: Path) -> float:
    """The seconds that a launch takes to which nothing is done."""
    folder.mkdir()
    (folder / "out").mkdir()
    begin = time.monotonic()
    process = start(Fault(0, "", "", "", 0, trains), folder, folder / "out" / "run.h5")
    code = process.wait(SECONDS)
    if code != 0:
        raise SystemExit(f"a launch without a fault ends with {code}: {(folder / 'stderr').read_text()}")
    return time.monotonic() - begin


def read(state: Path) -> list[Outcome]:
    """The results so far."""
    return [Outcome(**json.loads(line)) for line in state.read_text().splitlines()]


def table(outcomes: list[Outcome], seed: int) -> str:
    """The results by fault."""
    rows: dict[tuple[str, ...], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        fault = outcome.what if outcome.kind == "signal" else f"{outcome.kind} {outcome.what}".strip()
        rows[fault, f"to {outcome.target}" if outcome.target else "–"].append(outcome)
    failed = [outcome for outcome in outcomes if outcome.trouble]
    trained = sum(outcome.trains for outcome in outcomes)
    lines = [
        f"{len(outcomes)} faults (seed {seed}), {trained} of them to training runs: {len(failed)} failed checks; "
        f"{sum(outcome.records for outcome in outcomes):,} records found.",
        "",
        "| fault | to | times | exit codes (how often) | failed |",
        "|---|---|---|---|---|",
    ]
    for (fault, target), found in sorted(rows.items()):
        codes = ", ".join(f"{code} ({times})" for code, times in sorted(Counter(each.code for each in found).items()))
        failures = sum(bool(each.trouble) for each in found)
        lines.append(f"| {fault} | {target.removeprefix('to ')} | {len(found)} | {codes} | {failures} |")
    lines += ["", *(f"- fault {each.number}: {each.trouble}" for each in failed)]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", default="0/1", help="do only each n-th fault from the i-th on, as in 1/2")
    parser.add_argument("--state", type=Path, default=Path(".fault_campaign.jsonl"), help="results, one a line")
    parser.add_argument("--table", type=Path, help="where to write the table; default: standard output")
    parser.add_argument("--only", type=int, nargs="*", help="these faults alone, and keep their folders")
    parser.add_argument("--launch", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        rank(options.rank)
        return 0
    if options.launch:
        return launch([sys.executable, __file__, "--rank", str(options.launch)], options.launch)
    outcomes = []
    if options.state.exists() and options.only is None:
        outcomes = read(options.state)
    done = {outcome.number for outcome in outcomes}
    share, shares = map(int, options.share.split("/"))
    numbers = options.only or range(share, options.faults, shares)
    todo = [number for number in numbers if number not in done]
    base = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        lengths = {trains: usual(trains, base / f"usual-{trains}") for trains in (False, True)}
        for number in todo:
            fault, folder = draw(number, options.seed), base / str(number)
            folder.mkdir()
            outcome = inflict(fault, lengths[fault.trains], folder)
            while not isinstance(outcome, Outcome):
                lengths[fault.trains] = 0.9 * outcome
                shutil.rmtree(folder)
                folder.mkdir()
                outcome = inflict(fault, lengths[fault.trains], folder)
            outcomes.append(outcome)
            print(fault, outcome.code, outcome.status, outcome.trouble or "well", flush=True)
            if options.only is None:
                with options.state.open("a") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
                shutil.rmtree(folder)
    finally:
        if options.only is None:
            shutil.rmtree(base, ignore_errors=True)
    if options.state.exists() and options.only is None:
        # Others may have done their share of them meanwhile.
        outcomes = read(options.state)
    text = table(sorted(outcomes, key=lambda outcome: outcome.number), options.seed)
    if options.table:
        options.table.parent.mkdir(parents=True, exist_ok=True)
        options.table.write_text(text)
    else:
        print(text)
    return int(any(outcome.trouble for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
