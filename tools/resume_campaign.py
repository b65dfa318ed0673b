"""Kills runs that write checkpoints, resumes them on other numbers of ranks, and compares them with one left alone.

    python tools/resume_campaign.py --kills 200 --state kills.jsonl --table kills.md

A run is killed with SIGKILL at a random moment after it has gone on: one rank, all ranks, mpirun, or `mpidl run` with
all that it has started. After each kill the run file must open with every record that was ever seen in it, and a
checkpoint be there, whole in every byte, unless none had been complete before. Then the run is resumed, on one to four
ranks. When it comes to its end, its records and its last models must be those of the undisturbed run, bit for bit, and
its folder hold nothing else than they do. Then a new one is begun.

With --state, every kill is noted in a file as it is done, and a campaign that was stopped goes on from there; --table
writes what was found. Exit code 1 if any check fails.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from campaigns import PATIENCE, Result, begin, carry_out, difference, launch, left_alone, note, noted, options_of
from fault_checks import damaged
from kill_campaign import lost
from processes import descendants, mpirun_of, ranks_of, shared_memory

from mpidl import results
from mpidl.results.checkpoints.folder import CheckpointFolder

TARGETS = ("a rank", "all ranks", "mpirun", "everything")


def seen(output: Path) -> results.Run | None:
    return results.open(output) if output.exists() else None


def kill(process: subprocess.Popen[bytes], target: str, rng: np.random.Generator) -> None:
    """Kills what the target names among the processes of this launch, and removes what nobody else can."""
    started = descendants(process.pid)
    mpirun, ranks = mpirun_of(process.pid), ranks_of(process.pid)
    chosen = {
        "a rank": [int(rng.choice(ranks))] if ranks else [],
        "all ranks": ranks,
        "mpirun": [] if mpirun is None else [mpirun],
        "everything": started,
    }[target]
    segments = set().union(*map(shared_memory, started)) if target == "everything" else set()
    for number in chosen or started:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait(PATIENCE)
    for segment in segments:
        segment.unlink(missing_ok=True)


def one_kill(folder: Path, number: int, within: float, log: Path) -> Result:
    """Starts or resumes the run, kills it, and checks; says too whether it had come to its end instead."""
    rng = np.random.default_rng(number)
    target, output, ranks = TARGETS[number % len(TARGETS)], folder / "out" / "run.h5", int(rng.integers(1, 5))
    first = seen(output)
    before, had = (first.updated if first else "", bool(CheckpointFolder(output).rounds()))
    process = launch(folder, ranks, log)
    end, latest = time.monotonic() + PATIENCE, first
    told: Result = {"number": number, "target": target, "ranks": ranks, "trouble": "", "ended": False}
    began = False
    while process.poll() is None and time.monotonic() < end:
        now = seen(output)
        if now is not None and not began and b"\nround " in log.read_bytes():
            began, end = True, time.monotonic() + rng.uniform(0, within)
        if began:
            latest, had = now, had or bool(CheckpointFolder(output).rounds())
        time.sleep(0.02)
    if process.poll() is None:
        kill(process, target, rng)
        told["trouble"] = "" if began else f"it did not train within {PATIENCE:.0f} s"
        told["trouble"] = told["trouble"] or damaged(output, had) or lost(output, None, latest if began else None)
    else:
        told["ended"] = True
        words = log.read_bytes().decode(errors="replace").splitlines()[-1:]
        told["trouble"] = f"it failed: {words} (updated {before})" if process.returncode else ""
    told["records"] = latest.records if latest else 0
    return told


def campaign(options: argparse.Namespace, place: Path) -> list[Result]:
    done, log, folder = noted(options), place / "log", None
    reference = left_alone(place, options.rounds, log)
    kills = sum(not each["ended"] for each in done)
    while kills < options.kills or folder is not None:
        folder = folder or begin(place, f"run-{len(done)}", options.rounds)
        # Beyond the last kill the run is left to itself, to be compared.
        within = options.within if kills < options.kills else 600.0
        told = one_kill(folder, len(done), within, log)
        if told["ended"] and not told["trouble"]:
            told["trouble"] = difference(folder, reference)
        kills += not told["ended"]
        folder = None if told["ended"] or told["trouble"] else folder
        done.append(told)
        note(told, options)
    return done


def table(done: list[Result]) -> str:
    kills, failures = Counter(), Counter()
    for each in done:
        what = "none: the run came to its end, and is compared" if each["ended"] else each["target"]
        kills[what] += 1
        failures[what] += bool(each["trouble"])
    rows = [f"| {what} | {count} | {failures[what]} |" for what, count in sorted(kills.items())]
    return "\n".join(["| killed | times | failures |", "|---|---|---|", *rows])


def main() -> int:
    parser = options_of(__doc__, within=3.0)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=900, help="of a run")
    return carry_out(parser, campaign, table)


if __name__ == "__main__":
    sys.exit(main())
