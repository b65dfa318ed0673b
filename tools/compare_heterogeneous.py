"""Decentralized methods on unlike data, exact and compressed four times: test accuracy as a Markdown table.

    python tools/compare_heterogeneous.py [--results runs/heterogeneous.jsonl] [--rounds 300]

Digits, 16 agents on a ring, Dirichlet 0.1 by class, an MLP; every method has Nesterov's momentum 0.9 and the same
number of rounds and of examples. The learning rate of each line comes from a small sweep on a validation part, with
seeds that are used for nothing else; then ρ of the SADDLe methods in the same way, at that rate. Shown is the test
accuracy of the averaged model: the mean over five seeds, which deal the data anew, and their standard deviation. Lines
of results are kept in a file, so a run that was stopped goes on where it was. One rank, one thread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mpidl import config as reading
from mpidl.comm.start import startup
from mpidl.errors import DivergenceError
from mpidl.experiment import Config
from mpidl.training.loop import Hook, Record, Training

METHODS = ("dsgd", "qgm", "q-saddle", "ngc", "n-saddle")
QUARTER = {"name": "qsgd", "bits": 8}
"""A byte for each number of four."""
RATES = (0.03, 0.1, 0.3, 1.0)
RADII = (0.02, 0.05, 0.1, 0.2, 0.4)
SWEPT, SHOWN = (101, 102), (1, 2, 3, 4, 5)


class Last(Hook):
    """Keeps the newest record."""

    def __init__(self) -> None:
        self.record: Record = {}

    def recorded(self, training: Training, record: Record) -> None:
        self.record = record


class Results:
    """What was measured, by settings and seed; each new measurement is appended to the file."""

    def __init__(self, path: Path, rounds: int, comm: Any) -> None:
        self._path, self._rounds, self._comm = path, rounds, comm
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._known = {line["of"]: line for line in map(json.loads, lines)}

    def accuracy(self, part: str, settings: dict[str, Any], compressed: bool, seed: int) -> float:
        """Of the averaged model at the end; of a run that diverged, that of a guess."""
        of = json.dumps([settings, compressed, seed, self._rounds], sort_keys=True)
        if of not in self._known:
            self._known[of] = {"of": of, **self._measured(settings, compressed, seed)}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self._known[of]) + "\n")
        return float(self._known[of][part])

    def _measured(self, settings: dict[str, Any], compressed: bool, seed: int) -> dict[str, float]:
        from mpidl.experiment.compose import compose

        run, last = compose(configuration(settings, compressed, seed, self._rounds), self._comm), Last()
        run.training.hooks.append(last)
        try:
            run.training.run()
        except DivergenceError:
            return {"test": 0.1, "validation": 0.1}
        finally:
            run.close()
        return {part: float(last.record[f"{part}_accuracy_consensus"]) for part in ("test", "validation")}


def configuration(settings: dict[str, Any], compressed: bool, seed: int, rounds: int) -> Config:
    """One run."""
    gossip: dict[str, Any] = {}
    if compressed:
        gossip = {"scheme": {"name": "choco", "gamma": 0.9}, "compressor": QUARTER}
        if settings["name"] in ("ngc", "n-saddle"):
            gossip["cross_gradients"] = QUARTER
    split = {"name": "dirichlet-class", "alpha": 0.1}
    keys = {
        "seed": seed,
        "agents": 16,
        "model": {"name": "mlp", "hidden": [64]},
        "data": {"name": "digits", "batch": 32, "validation": 0.15, "split": split},
        "algorithm": {"momentum": 0.9, "nesterov": True} | settings,
        "graph": "ring",
        "gossip": gossip,
        "schedule": {"name": "step", "milestones": [0.5, 0.75]},
        "train": {"rounds": rounds},
        "evaluate": {"every": rounds, "models": ["consensus"]},
    }
    return reading.validate(Config, keys)


def best(results: Results, choices: Iterable[dict[str, Any]], compressed: bool) -> dict[str, Any]:
    """The settings with the best accuracy on the validation part."""
    return max(
        choices, key=lambda settings: sum(results.accuracy("validation", settings, compressed, s) for s in SWEPT)
    )


def line(results: Results, name: str, compressed: bool) -> Iterator[str]:
    """Cells of the table: learning rate, ρ, accuracy."""
    chosen = best(results, ({"name": name, "lr": lr} for lr in RATES), compressed)
    if "saddle" in name:
        chosen = best(results, (chosen | {"rho": rho} for rho in RADII), compressed)
    shown = [100 * results.accuracy("test", chosen, compressed, seed) for seed in SHOWN]
    yield f"{chosen['lr']:g}"
    yield f"{chosen['rho']:g}" if "rho" in chosen else ""
    yield f"{statistics.mean(shown):.1f} ± {statistics.stdev(shown):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("runs/heterogeneous.jsonl"), help="where they are kept")
    parser.add_argument("--rounds", type=int, default=300, help="of each run")
    parser.add_argument("--exact", action="store_true", help="leave the compressed half out")
    wanted = parser.parse_args()
    results = Results(wanted.results, wanted.rounds, startup.start("cpu", 1))
    print("| method | gossip | rate | ρ | test accuracy (%) |\n|---|---|---|---|---|", flush=True)
    for name, compressed in itertools.product(METHODS, (False,) if wanted.exact else (False, True)):
        cells = (name, "4× compressed" if compressed else "exact", *line(results, name, compressed))
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
