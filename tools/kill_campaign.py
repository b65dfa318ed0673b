"""Kills a writer with SIGKILL at random moments, and checks that the run file opens every time with all it had flushed.

    python tools/kill_campaign.py --kills 100
    python tools/kill_campaign.py --kills 100 --command "mpidl run configs/digits.yaml -n 2 -o {output}" --within 20

Without a command, the writer is this program itself: it flushes without a pause, with few rows allocated at a time,
columns that appear late and texts that grow, so that most kills hit a flush; one file is written by several writers in
a row, each taking over what the one before left. Values are checked, not only counted.

With a command, each kill starts it afresh on a new `{output}` and kills all of its processes at once. Until then the
file is read again and again, as by anyone who follows the run: every record once seen must be there after the kill,
with the same values, and so must as many records as the command says in its output that it has flushed (`--flushed`).
A command that fails by itself is a failure too.

Moments are counted from a process's first line of output. Exit code 1 if any check fails, or if no kill came after a
flush.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from processes import descendants, shared_memory

from mpidl import results
from mpidl.errors import MpidlError

AGENTS = 5
RANKS = 3

# Writers that take turns on one file before a new one is begun.
TURNS = 8

# How long the writer itself may run: from its first try to create the file, over some dozens of flushes.
WRITER_SECONDS = 0.25


def value(record: int, metric: int) -> float:
    """What a metric of the writer is at a record."""
    return record + metric / 16


def write(path: Path) -> None:
    """Writes records until it is killed; says on standard output what is flushed."""
    import h5py  # noqa: F401  (imported before the clock starts)

    from mpidl.results.run_file import RunFile

    say("ready")
    if path.exists():
        run = RunFile.open(path, room=7)
    else:
        run = RunFile.create(path, {"name": "kill"}, {"hosts": ["here"]}, {"edges": [[0, 1]]}, AGENTS, room=7)
    say(f"flushed {run.records}")
    while True:
        record = run.records
        for more in range(1 + record % 3):
            now = record + more
            metrics = {f"late_{m:02}": value(now, m) for m in range(min(12, now // 5))}
            run.append({"round": now, "seconds": now / 2, "each": np.full(AGENTS, value(now, 1)), **metrics})
            run.append_timing({"gradient": np.full(RANKS, value(now, 2))})
        if record % 4 == 0:
            run.event("note", f"{record} " + "x" * (record * 3), record)
        run.flush()
        say(f"flushed {run.records}")


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def wrong(path: Path, flushed: int | None) -> str:
    """What is wrong with the writer's file after a kill, or an empty string; None: it was never said to exist."""
    if flushed is None and not path.exists():
        return ""
    try:
        run = results.open(path)
        rows = np.arange(run.records)
        late = {f"late_{m:02}": np.where(rows // 5 > m, rows + m / 16, np.nan) for m in range(12)}
        expected = {"round": rows, "seconds": rows / 2, "each": np.tile((rows + 1 / 16)[:, None], AGENTS)}
        expected |= {name: values for name, values in late.items() if name in run.metrics}
        missing = [name for name, values in late.items() if name not in run.metrics and not np.isnan(values).all()]
        bad = [name for name, values in expected.items() if run.records and not same(run.metrics[name], values)]
        if run.records and not same(run.timing["gradient"], np.tile((rows + 2 / 16)[:, None], RANKS)):
            bad.append("timing")
        if any(event.text != f"{event.round} " + "x" * (event.round * 3) for event in run.events):
            bad.append("events")
    except MpidlError as error:
        return str(error)
    if run.records < (flushed or 0):
        return f"{flushed} records were flushed, {run.records} are there"
    return f"wrong values in {', '.join(missing + bad)}" if missing or bad else ""


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return np.array_equal(np.asarray(found, dtype=float), np.asarray(expected, dtype=float), equal_nan=True)


def lost(path: Path, flushed: int | None, seen: results.Run | None) -> str:
    """What is wrong with the file of a command after a kill, by what it said and by what was seen before."""
    if not flushed and not seen and not path.exists():
        return ""
    try:
        run = results.open(path)
        before, now = (columns(seen), columns(run)) if seen else ({}, {})
        # What was done again after a rank had died took other times, the beginning (0) too.
        done = min((event.round or -1 for event in run.events if event.kind == "failure"), default=None)
        stand = None if done is None or not seen else int(np.searchsorted(seen.metrics["round"], done, side="right"))
        lasting = {
            name: values[:stand] if name == "seconds" or name.startswith("timing/") else values
            for name, values in before.items()
        }
        bad = [name for name, values in lasting.items() if not same(now[name][: len(values)], values)]
    except MpidlError as error:
        return str(error)
    flushed = max(flushed or 0, seen.records if seen else 0)
    if run.records < flushed:
        return f"{flushed} records were flushed, {run.records} are there"
    return f"other values than before the kill in {', '.join(bad)}" if bad else ""


def columns(run: results.Run) -> dict[str, np.ndarray]:
    return dict(run.metrics) | {f"timing/{name}": values for name, values in run.timing.items()}


def follow(path: Path, seconds: float) -> results.Run | None:
    """Reads a file that is being written as often as it can; returns what it saw last."""
    end, seen = time.monotonic() + seconds, None
    while time.monotonic() < end:
        if path.exists():
            seen = results.open(path)
            columns(seen)
        time.sleep(min(0.02, max(0.0, end - time.monotonic())))
    return seen


class Victim:
    """A process and its descendants, with what it has said so far."""

    def __init__(self, command: list[str], flushed: str, folder: Path) -> None:
        """What it leaves in the system's temporary folder goes to `folder`."""
        self._pattern = re.compile(flushed)
        self._ready = threading.Event()
        self.flushed: int | None = None
        self.exit_code = 0
        self.output = b""
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "TMPDIR": str(folder)}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        for line in self._process.stdout:
            self.output += line
            self._ready.set()
            if found := self._pattern.search(line.decode(errors="replace")):
                self.flushed = int(found[1])

    def wait_until_it_speaks(self) -> None:
        while not self._ready.wait(0.1) and self._process.poll() is None:
            pass

    def kill(self) -> bool:
        """Kills it and all its descendants; returns whether it was still running."""
        running = self._process.poll() is None
        segments: set[Path] = set()
        # Stopped first, so that none starts another between being listed and being killed.
        for send in (signal.SIGSTOP, signal.SIGKILL):
            for process in descendants(self._process.pid) if running else ():
                segments |= shared_memory(process)
                try:
                    os.kill(process, send)
                except ProcessLookupError:
                    continue
        self.exit_code = self._process.wait()
        self._listener.join()
        # Where all processes of an MPI die at once nobody is left to remove them, and a campaign would fill the memory.
        for segment in segments:
            segment.unlink(missing_ok=True)
        return running


def campaign(options: argparse.Namespace, folder: Path) -> int:
    """Kills and checks; returns the number of failures, or True where none could have been seen."""
    rng = np.random.default_rng(options.seed)
    failures = records = before = ended = 0
    for kill in range(options.kills):
        if options.command:
            path = folder / f"run-{kill:04}.h5"
            command = [word.replace("{output}", str(path)) for word in shlex.split(options.command)]
        else:
            path = folder / f"run-{kill // TURNS:04}.h5"
            command = [sys.executable, __file__, "--write", str(path)]
        victim = Victim(command, options.flushed, folder)
        seen, trouble = None, ""
        try:
            victim.wait_until_it_speaks()
            moment = rng.uniform(options.after, options.within)
            if options.command:
                seen = follow(path, moment)
            else:
                time.sleep(moment)
        except MpidlError as error:
            trouble = f"could not be followed: {error}"
        finally:
            running = victim.kill()
        ended += not running
        trouble = trouble or (lost(path, victim.flushed, seen) if options.command else wrong(path, victim.flushed))
        flushed = max(victim.flushed or 0, seen.records if seen else 0)
        if not running and victim.exit_code:
            last = victim.output.decode(errors="replace").splitlines()[-1:]
            trouble = trouble or f"it ended by itself with exit code {victim.exit_code}: {' '.join(last)}"
        failures += bool(trouble)
        records += flushed
        before += not flushed
        if trouble or options.verbose:
            print(f"kill {kill}: {flushed} records flushed; {trouble or 'all there'}", flush=True)
    print(
        f"{options.kills} kills, {failures} failures; {records} flushed records found again; "
        f"{before} kills came before the first flush was known, {ended} after the end"
    )
    return failures or before == options.kills


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--command", help="what to kill instead of the writer; {output} stands for the run file")
    parser.add_argument("--flushed", default=r"flushed (\d+)", help="how its output says how many records are flushed")
    parser.add_argument(
        "--after",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="the earliest moment of a kill",
    )
    parser.add_argument("--within", type=float, default=WRITER_SECONDS, metavar="SECONDS", help="the latest moment")
    parser.add_argument("--folder", type=Path, help="where to keep the run files; default: a temporary folder")
    parser.add_argument("--verbose", action="store_true", help="a line for each kill")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write)
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        return bool(campaign(options, options.folder))
    with tempfile.TemporaryDirectory() as folder:
        return bool(campaign(options, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
