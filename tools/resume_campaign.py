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
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from kill_campaign import descendants, same, shared_memory

from mpidl import results
from mpidl.errors import MpidlError
from mpidl.results.checkpoints import reader
from mpidl.results.checkpoints.folder import CheckpointFolder

CONFIG = """
seed: 3
agents: 5
model: {{name: mlp, hidden: [32]}}
data: {{name: digits, batch: 16, split: {{name: dirichlet-class, alpha: 0.3}}}}
algorithm: {{name: dsgd, lr: 0.05, momentum: 0.9}}
graph: ring
gossip: {{scheme: {{name: choco, gamma: 0.4}}, compressor: {{name: topk, fraction: 0.2}}}}
train: {{rounds: {rounds}, device: cpu}}
evaluate: {{every: 3}}
checkpoint: {{every: 5, memory: {memory}, snapshots: 0.5}}
failures: {{policy: {policy}}}
"""
TARGETS = ("a rank", "all ranks", "mpirun", "everything")
# How long a launch may take until it trains, or until it has ended, on a machine that is busy.
PATIENCE = 120.0


def command(process: int) -> str:
    """The name of what it runs."""
    try:
        return Path(f"/proc/{process}/comm").read_text()
    except OSError:
        return ""


def launch(folder: Path, ranks: int, log: Path) -> subprocess.Popen[bytes]:
    words = ["run", str(folder / "config.yaml"), "-n", str(ranks), "-o", str(folder / "out" / "run.h5"), "--resume"]
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "mpidl", *words], stdout=output, stderr=output, start_new_session=True
        )


def seen(output: Path) -> results.Run | None:
    return results.open(output) if output.exists() else None


def kill(process: subprocess.Popen[bytes], target: str, rng: np.random.Generator) -> None:
    """Kills what the target names among the processes of this launch, and removes what nobody else can."""
    started = descendants(process.pid)
    names = {number: command(number) for number in started[1:]}
    mpirun = [number for number, name in names.items() if name.startswith(("prterun", "mpirun"))]
    ranks = [number for number, name in names.items() if name.startswith("python") and mpirun and number != mpirun[0]]
    chosen = {
        "a rank": [int(rng.choice(ranks))] if ranks else [],
        "all ranks": ranks,
        "mpirun": mpirun[:1],
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


def trouble_after_kill(output: Path, before: results.Run | None, had: bool) -> str:
    """What is wrong with what a killed run has left; `had`: whether a checkpoint had been complete."""
    try:
        run, folder = seen(output), CheckpointFolder(output)
        rounds = folder.rounds()
        if had and not rounds:
            return "no checkpoint is there"
        for round in rounds:
            reader.open(folder.of_round(round)).verify()
        if before is not None and (run is None or run.records < before.records):
            return f"{before.records} records were seen, {0 if run is None else run.records} are there"
        if before is not None and run is not None:
            wrong = [
                name for name in before.metrics if not same(run.metrics[name][: before.records], before.metrics[name])
            ]
            return f"other values in {', '.join(wrong)}" if wrong else ""
    except MpidlError as error:
        return str(error)
    return ""


def difference(folder: Path, reference: Path) -> str:
    """In what a run that was killed and resumed differs from one that was left alone."""
    run, whole = results.open(folder / "out" / "run.h5"), results.open(reference / "out" / "run.h5")
    found = {name: run.metrics[name] for name in run.metrics if name != "seconds"}
    expected = {name: whole.metrics[name] for name in whole.metrics if name != "seconds"}
    found |= {f"snapshots of {name}": run.snapshots[name] for name in run.snapshots}
    expected |= {f"snapshots of {name}": whole.snapshots[name] for name in whole.snapshots}
    wrong = [name for name in expected if name not in found or not same(found[name], expected[name])]
    names = {path.name for path in (folder / "out").rglob("*")}
    left = names - {path.name for path in (reference / "out").rglob("*")} - {f"rank-{rank:05}.h5" for rank in range(4)}
    return "; ".join([*(f"other {name}" for name in wrong), *(f"{name} is left" for name in sorted(left))])


def begin(place: Path, name: str, rounds: int, policy: str = "abort", memory: str = "null") -> Path:
    folder = place / name
    (folder / "out").mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG.format(rounds=rounds, policy=policy, memory=memory))
    return folder


def one_kill(folder: Path, number: int, within: float, log: Path) -> dict[str, Any]:
    """Starts or resumes the run, kills it, and checks; says too whether it had come to its end instead."""
    rng = np.random.default_rng(number)
    target, output, ranks = TARGETS[number % len(TARGETS)], folder / "out" / "run.h5", int(rng.integers(1, 5))
    first = seen(output)
    before, had = (first.updated if first else "", bool(CheckpointFolder(output).rounds()))
    process = launch(folder, ranks, log)
    deadline, latest = time.monotonic() + PATIENCE, first
    told: dict[str, Any] = {"number": number, "target": target, "ranks": ranks, "trouble": "", "ended": False}
    began = False
    end = deadline
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
        told["trouble"] = told["trouble"] or trouble_after_kill(output, latest if began else None, had)
    else:
        told["ended"] = True
        words = log.read_bytes().decode(errors="replace").splitlines()[-1:]
        told["trouble"] = f"it failed: {words} (updated {before})" if process.returncode else ""
    told["records"] = latest.records if latest else 0
    return told


def campaign(options: argparse.Namespace, place: Path) -> list[dict[str, Any]]:
    done = [json.loads(line) for line in options.state.read_text().splitlines()] if options.state.exists() else []
    reference, log, folder = begin(place, "whole", options.rounds), place / "log", None
    whole = launch(reference, 2, log)
    if whole.wait(600):
        raise SystemExit(f"the undisturbed run failed: {log.read_text()}")
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
        with options.state.open("a") as state:
            state.write(json.dumps(told) + "\n")
        if told["trouble"] or options.verbose:
            print(told, flush=True)
    return done


def table(done: list[dict[str, Any]]) -> str:
    kills, failures = Counter(), Counter()
    for each in done:
        what = "none: the run came to its end, and is compared" if each["ended"] else each["target"]
        kills[what] += 1
        failures[what] += bool(each["trouble"])
    rows = [f"| {what} | {count} | {failures[what]} |" for what, count in sorted(kills.items())]
    return "\n".join(["| killed | times | failures |", "|---|---|---|", *rows])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=900, help="of a run")
    parser.add_argument("--within", type=float, default=3.0, metavar="SECONDS", help="the latest moment of a kill")
    parser.add_argument("--state", type=Path, help="where kills are noted; default: a file that is forgotten")
    parser.add_argument("--table", type=Path, help="where to write the table")
    parser.add_argument("--verbose", action="store_true", help="a line for each kill")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="resume-") as folder:
        options.state = options.state or Path(folder) / "state.jsonl"
        done = campaign(options, Path(folder))
    found = table(done)
    print(found)
    if options.table:
        options.table.write_text(found + "\n")
    return int(any(each["trouble"] for each in done))


if __name__ == "__main__":
    sys.exit(main())
