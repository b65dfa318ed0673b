"""What campaigns of kills share: runs to be killed, one that is left alone to compare them with, and notes of each.

Every result is a line of JSON in a file, `trouble` in it empty or what is wrong, so that a campaign that was stopped
goes on from there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kill_campaign import same

from mpidl import results

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
# How long a launch may take until it trains, or until it has ended, on a machine that is busy.
PATIENCE = 120.0

Result = dict[str, Any]


def begin(place: Path, name: str, rounds: int, policy: str = "abort", memory: str = "null") -> Path:
    """The folder of a new run, with its configuration."""
    folder = place / name
    (folder / "out").mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG.format(rounds=rounds, policy=policy, memory=memory))
    return folder


def launch(folder: Path, ranks: int, log: Path) -> subprocess.Popen[bytes]:
    """Starts the run of a folder, or goes on with it; what it says is in the log."""
    words = ["run", str(folder / "config.yaml"), "-n", str(ranks), "-o", str(folder / "out" / "run.h5"), "--resume"]
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "mpidl", *words], stdout=output, stderr=output, start_new_session=True
        )


def left_alone(place: Path, rounds: int, log: Path, policy: str = "abort") -> Path:
    """The folder of a run that nobody has disturbed."""
    folder = begin(place, "whole", rounds, policy)
    if launch(folder, 2, log).wait(600):
        raise SystemExit(f"the undisturbed run failed: {log.read_text()}")
    return folder


def difference(folder: Path, reference: Path) -> str:
    """In what a run that was killed differs from one that was left alone."""
    run, whole = results.open(folder / "out" / "run.h5"), results.open(reference / "out" / "run.h5")
    found = {name: run.metrics[name] for name in run.metrics if name != "seconds"}
    expected = {name: whole.metrics[name] for name in whole.metrics if name != "seconds"}
    found |= {f"snapshots of {name}": run.snapshots[name] for name in run.snapshots}
    expected |= {f"snapshots of {name}": whole.snapshots[name] for name in whole.snapshots}
    wrong = [name for name in expected if name not in found or not same(found[name], expected[name])]
    names = {path.name for path in (folder / "out").rglob("*")}
    left = names - {path.name for path in (reference / "out").rglob("*")} - {f"rank-{rank:05}.h5" for rank in range(4)}
    return "; ".join([*(f"other {name}" for name in wrong), *(f"{name} is left" for name in sorted(left))])


def noted(options: argparse.Namespace) -> list[Result]:
    """What is known from before."""
    return [json.loads(line) for line in options.state.read_text().splitlines()] if options.state.exists() else []


def note(told: Result, options: argparse.Namespace) -> None:
    """Keeps a result, and prints it where something is wrong or all are to be seen."""
    with options.state.open("a") as state:
        state.write(json.dumps(told) + "\n")
    if told["trouble"] or options.verbose:
        print(told, flush=True)


def options_of(told: str | None, within: float) -> argparse.ArgumentParser:
    """The options of any campaign; `told`: its description, and `within` the usual latest moment of a kill."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--within", type=float, default=within, metavar="SECONDS", help="the latest moment of a kill")
    parser.add_argument("--state", type=Path, help="where results are noted; default: a file that is forgotten")
    parser.add_argument("--table", type=Path, help="where to write the table")
    parser.add_argument("--verbose", action="store_true", help="a line for each kill or run")
    return parser


def carry_out(
    parser: argparse.ArgumentParser,
    campaign: Callable[[argparse.Namespace, Path], list[Result]],
    table: Callable[[list[Result]], str],
) -> int:
    """A campaign from its command to its table; returns the exit code, 1 where anything is wrong."""
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        options.state = options.state or Path(folder) / "state.jsonl"
        done = campaign(options, Path(folder))
    found = table(done)
    print(found)
    if options.table:
        options.table.write_text(found + "\n")
    return int(any(each["trouble"] for each in done))
