"""What a sweep saves: a sweep of 3 rates × 3 seeds beside the same nine runs, each started by itself.

    python tools/bench_sweep.py [--ranks 4] [--seconds 1] [--times 2]

Each run is 8 agents on a ring who train the MLP of the quickstart on the digits that come with the package, for about
so many seconds (their number of rounds is found by one run). The sweep and the separate starts take turns; each is
timed from its command to its end. What is compared at last is that all runs have the same bits.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mpidl import results

CONFIGURATION = """
agents: 8
model: {name: mlp, hidden: [64]}
data: {name: digits, batch: 32, split: {name: dirichlet-class, alpha: 0.1}}
algorithm: {name: dsgd, lr: 0.1, momentum: 0.9}
graph: ring
train: {rounds: 100, device: cpu}
evaluate: {every: 1.0}
"""
RATES, SEEDS = ("0.01", "0.03", "0.1"), ("1", "2", "3")


def mpidl(folder: Path, *words: str) -> float:
    """Seconds that this command takes; ends with what it says where it fails."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "mpidl", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - begin


def rounds_of(folder: Path, seconds: float, ranks: Sequence[str]) -> int:
    """How many rounds take so long."""
    mpidl(folder, "run", "bench.yaml", *ranks, "-o", "trial.h5")
    return max(2, round(100 * seconds / results.open(folder / "trial.h5").last("seconds")))


def separately(folder: Path, words: Sequence[str]) -> float:
    """Nine starts of `mpidl run`."""
    return sum(
        mpidl(folder, "run", "bench.yaml", *words, "-s", f"algorithm.lr={rate}", "-s", f"seed={seed}", "-o", name)
        for rate, seed in itertools.product(RATES, SEEDS)
        for name in [f"separate/lr={rate}_seed={seed}.h5"]
    )


def together(folder: Path, words: Sequence[str]) -> float:
    """One sweep."""
    axes = ["-s", f"algorithm.lr={','.join(RATES)}", "-s", "seed=1:3"]
    return mpidl(folder, "sweep", "bench.yaml", *words, *axes, "-o", "sweep")


def are_alike(one: Path, other: Path) -> bool:
    """Whether two run files have the same measurements, to the bit, but for times."""
    metrics, others = results.open(one).metrics, results.open(other).metrics
    return set(metrics) == set(others) and all(
        name == "seconds" or np.array_equal(metrics[name], others[name], equal_nan=True) for name in metrics
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.0, help="of training in each run")
    parser.add_argument("--times", type=int, default=2, help="how often both are measured")
    options = parser.parse_args()
    ranks = ["-n", str(options.ranks)]
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "bench.yaml").write_text(CONFIGURATION)
        rounds = rounds_of(home, options.seconds, ranks)
        print(f"nine runs of {rounds} rounds, about {options.seconds:g} s, on {options.ranks} ranks", flush=True)
        print("turn   sweep   separate starts   ratio   seconds of training in all", flush=True)
        for turn in range(options.times):
            folder = home / str(turn)
            folder.mkdir()
            (folder / "bench.yaml").write_text(CONFIGURATION)
            words = [*ranks, "-s", f"train.rounds={rounds}"]
            swept, separate = together(folder, words), separately(folder, words)
            files = sorted((folder / "sweep").glob("*.h5"))
            trained = sum(results.open(path).last("seconds") for path in files)
            print(f"{turn:4} {swept:7.1f} {separate:17.1f} {swept / separate:7.2f} {trained:28.1f}", flush=True)
            same = [are_alike(path, folder / "separate" / path.name) for path in files]
            if len(same) != 9 or not all(same):
                sys.exit("the runs of the sweep do not have the bits of those that were started alone")
    print("all runs of the sweep have the bits of those that were started alone")


if __name__ == "__main__":
    main()
