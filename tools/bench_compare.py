"""How long `mpidl compare` takes over many runs, beside reading the same numbers with h5py alone.

    python tools/bench_compare.py [--runs 200] [--records 1000] [--times 5]

Writes so many runs of 8 agents into a folder that is removed, then compares them from the command line, the start of
Python included, in turn with a program that reads of each file its configuration, rounds, epochs, seconds, bytes,
accuracy and loss by h5py, checks nothing, and groups nothing. Printed are medians of seconds, and their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mpidl import experiment
from mpidl.results.run_file import RunFile

ROOT = Path(__file__).resolve().parent.parent
AGENTS, SEEDS = 8, 5
PLAIN = """
import sys
from pathlib import Path
import h5py, yaml
for path in sorted(Path(sys.argv[1]).glob("*.h5")):
    with h5py.File(path, "r") as file:
        yaml.load(file["config"][()], yaml.CSafeLoader)
        for name in ("round", "epoch", "seconds", "bytes", "test_accuracy_consensus", "test_loss_consensus"):
            file["metrics"][name][()]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.runs):
            write(Path(folder), number, options.records)
        commands = {
            "mpidl compare": [sys.executable, "-m", "mpidl", "compare", folder],
            "h5py alone": [sys.executable, "-c", PLAIN, folder],
        }
        # In turn, so that what else the machine does meets both; the first time brings files into memory.
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(options.times + 1):
            for name, command in commands.items():
                started = time.perf_counter()
                subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
                if turn:
                    seconds[name].append(time.perf_counter() - started)
    print(f"{options.runs} runs of {options.records} records, medians of {options.times} (least to most), in seconds")
    for name, taken in seconds.items():
        print(f"{name:14} {statistics.median(taken):6.2f}  ({min(taken):.2f} to {max(taken):.2f})")
    ratios = [ours / theirs for ours, theirs in zip(*seconds.values(), strict=True)]
    print(f"{'ratio':14} {statistics.median(ratios):6.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")


def write(folder: Path, number: int, records: int) -> None:
    """A run as the loop would leave it."""
    group, seed = divmod(number, SEEDS)
    settings = [f"seed={seed}", f"agents={AGENTS}", f"algorithm.lr={0.01 + group / 100}"]
    config = experiment.load(ROOT / "configs" / "quickstart-dsgd.yaml", settings)
    path = folder / f"lr={config.algorithm.lr}_seed={seed}.h5"
    run = RunFile.create(path, config.model_dump(mode="json"), {"hosts": ["here"] * 4}, None, AGENTS)
    draw = np.random.default_rng(number)
    for record in range(records):
        scales = {"round": record, "epoch": record / 10, "seconds": record / 100, "bytes": 1e6 * record}
        shared = dict.fromkeys(("train_loss", "gradient_norm", "bytes_sent", "lr", "consensus_distance"), draw.random())
        tested = {f"test_{name}_consensus": draw.random() for name in ("accuracy", "loss")}
        local = {f"test_{name}_local": draw.random(AGENTS) for name in ("accuracy", "loss")}
        run.append({**scales, **shared, **tested, **local})
        run.append_timing({f"meter_{meter}": np.full(4, float(record)) for meter in range(12)})
    run.finish()


if __name__ == "__main__":
    main()
