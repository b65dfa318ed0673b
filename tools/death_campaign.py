"""Kills ranks of runs that go on without them, and compares each with a run that was left alone.

    python tools/death_campaign.py --runs 50 --state deaths.jsonl --table deaths.md

In each run on four ranks a random one, the writer of the run file among them, is killed with SIGKILL at a random moment
of training; in every fifth run two are killed at once, and in every fifth one more while the others recover. In every
second run ranks keep copies of each other's state in memory, from which those that are left then go on. The run must
come to its end without being started again, with the records and models of the undisturbed run, bit for bit, and leave
nothing else in its folder; what its file says of each recovery is gathered. A further death while Open MPI makes a
communicator crashes it, which ends the run: that is counted by itself, and the run is then resumed, and compared.

With --state, every run is noted in a file as it is done, and a campaign that was stopped goes on from there; --table
writes what was found. Exit code 1 if any check fails.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from campaigns import PATIENCE, Result, begin, carry_out, difference, launch, left_alone, note, noted, options_of
from processes import ranks_of

from mpidl import results

RANKS = 4
WAYS = ("a rank", "a rank", "a rank", "two ranks at once", "a rank, and one while the others recover")
_TOLD = re.compile(r"so that (\d+) rounds? (?:is|are) done again; that took ([\d.]+) s")


def kill_some(process: subprocess.Popen[bytes], count: int, rng: np.random.Generator) -> int:
    """Kills so many ranks, if they have not ended; returns how many it were."""
    killed = 0
    ranks = ranks_of(process.pid)
    for number in rng.permutation(ranks)[: min(count, len(ranks) - 1)].tolist():
        try:
            os.kill(number, signal.SIGKILL)
            killed += 1
        except ProcessLookupError:
            continue
    return killed


def way_of(number: int) -> str:
    """How ranks are killed in the run of this number, and whether others have copies of their state."""
    return WAYS[number % len(WAYS)] + "; copies in memory" * (number % 2)


def one_run(folder: Path, reference: Path, number: int, within: float, log: Path) -> Result:
    rng, way = np.random.default_rng(number), way_of(number)
    told: Result = {"number": number, "way": way, "killed": 0, "crashed": False, "trouble": "", "recovered": []}
    process = launch(folder, RANKS, log)
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and b"\nround " not in log.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(rng.uniform(0, within))
    told["killed"] = kill_some(process, 2 if way.startswith("two") else 1, rng)
    if "recover" in way:
        time.sleep(rng.uniform(0.1, 1.5))
        told["killed"] += kill_some(process, 1, rng)
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        process.wait()
        return told | {"trouble": f"it did not end within {PATIENCE:.0f} s"}
    if code == 5 and "recover" in way:
        told["crashed"] = True
        code = launch(folder, RANKS, log).wait(PATIENCE)
    if code:
        return told | {"trouble": f"exit code {code}: {log.read_text(errors='replace').splitlines()[-1:]}"}
    texts = [event.text for event in results.open(folder / "out" / "run.h5").events if event.kind == "failure"]
    found = [match for match in map(_TOLD.search, texts) if match]
    told["recovered"] = [[int(match[1]), float(match[2])] for match in found]
    if told["killed"] and not texts and not told["crashed"]:
        told["trouble"] = "its file tells of no death"
    if told["killed"] == 1 and "memory" in way and texts and "copies in memory" not in texts[0]:
        told["trouble"] = f"it did not go on from memory: {texts[0]}"
    return told | {"trouble": told["trouble"] or difference(folder, reference)}


def campaign(options: argparse.Namespace, place: Path) -> list[Result]:
    done, log = noted(options), place / "log"
    reference = left_alone(place, options.rounds, log, "adopt")
    while len(done) < options.runs:
        memory = "2" if "memory" in way_of(len(done)) else "null"
        folder = begin(place, f"run-{len(done)}", options.rounds, "adopt", memory)
        told = one_run(folder, reference, len(done), options.within, log)
        done.append(told)
        note(told, options)
    return done


def table(done: list[Result]) -> str:
    lines = [
        "| killed | runs | recoveries | seconds: median, longest | rounds again: median, most | crashes | failures |",
        "|---|---|---|---|---|---|---|",
    ]
    for way in sorted({each["way"] for each in done}):
        runs = [each for each in done if each["way"] == way]
        found = [pair for each in runs for pair in each["recovered"]]
        rounds, seconds = zip(*found, strict=True) if found else ((0,), (0.0,))
        lines.append(
            f"| {way} | {len(runs)} | {len(found)} | {statistics.median(seconds):.2f}, {max(seconds):.2f} "
            f"| {statistics.median(rounds):g}, {max(rounds)} | {sum(each['crashed'] for each in runs)} "
            f"| {sum(bool(each['trouble']) for each in runs)} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = options_of(__doc__, within=2.0)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=300, help="of a run")
    return carry_out(parser, campaign, table)


if __name__ == "__main__":
    sys.exit(main())
