"""Whether to say `train.batched`: gradients of 16 agents on one rank, one by one and at once, measured in one run.

    python tools/bench_batched.py [--seconds 10] [--agents 16] [--device cuda]

Both ways take the same rows, data and batches in short turns, so that a slow moment of the machine meets both. Printed
are medians over the turns, and the ratio of time at once to time one by one: below 1, batching pays. On a CPU the
processor's time is printed beside the clock's, since others on the machine do not lengthen it. One thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mpidl import accelerator
from mpidl import config as reading
from mpidl.comm.start import startup
from mpidl.comm.start.device import CHOICES
from mpidl.data import Dataset
from mpidl.experiment import Config

# The model, the shape of an example, and the batch.
CASES: dict[str, tuple[dict[str, Any], tuple[int, ...], int]] = {
    "mlp 64-32-10": ({"name": "mlp", "hidden": [32]}, (64,), 32),
    "logistic, 784 features": ({"name": "logistic"}, (784,), 32),
    "mlp 784-200-200-10": ({"name": "mlp"}, (784,), 32),
    "lenet5": ({"name": "lenet5"}, (1, 28, 28), 32),
    "char-lstm, 40 tokens": ({"name": "char-lstm"}, (40,), 8),
    "resnet20, batch norm": ({"name": "resnet20"}, (3, 32, 32), 8),
}
VOCABULARY = 65


def noise(shape: list[int], agents: int, batch: int) -> Dataset:
    """Four batches per agent, of images or texts: speed does not depend on what is learned."""
    rng = np.random.default_rng(0)
    size = (4 * agents * batch, *shape)
    owner = np.arange(size[0]) % agents
    if shape == [40]:
        x, y = (rng.integers(VOCABULARY, size=size) for _ in range(2))
        return Dataset(x, y, x[:2], y[:2], owner=owner, task="language", classes=VOCABULARY)
    x, y = rng.normal(size=size).astype(np.float32), rng.integers(10, size=size[0])
    return Dataset(x, y, x[:2], y[:2], owner=owner, classes=10)


def turn(case: str, agents: int, device: str, batched: bool, comm: Any) -> Callable[[], None]:
    """The gradients of all agents at their rows, the next batch at each call."""
    from mpidl.experiment.compose import compose

    model, shape, batch = CASES[case]
    keys = {
        "agents": agents,
        "model": model,
        "data": {
            "name": "bench_batched:noise",
            "shape": list(shape),
            "agents": agents,
            "batch": batch,
            "split": "given",
        },
        "algorithm": {"name": "dsgd"},
        "graph": "ring",
        "train": {"rounds": 1, "batched": batched, "device": device},
    }
    algorithm = compose(reading.validate(Config, keys), comm).training.algorithm

    def gradients() -> None:
        algorithm.gradient(algorithm.X)
        algorithm.t += 1

    return gradients


def spent(work: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Seconds of one call by the clock, and of the processor."""
    begin, processor = time.perf_counter(), time.thread_time()
    for _ in range(repeats):
        work()
    if accelerator.in_use():
        torch.accelerator.synchronize()
    return (time.perf_counter() - begin) / repeats, (time.thread_time() - processor) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each model")
    parser.add_argument("--agents", type=int, default=16)
    parser.add_argument("--device", choices=CHOICES, default="auto")
    options = parser.parse_args()
    comm = startup.start(options.device, 1)
    device = str(accelerator.in_use() or "cpu")
    print(f"gradients of {options.agents} agents on {device}, torch {torch.__version__}, milliseconds for all of them")
    print(
        f"{'model':<24}{'batch':>6}{'one by one':>12}{'at once':>10}{'ratio':>8}   processor{'ratio':>16}{'turns':>7}"
    )
    for case, (_, _, batch) in CASES.items():
        each, once = (turn(case, options.agents, device, batched, comm) for batched in (False, True))
        # The first calls pay for what is made once.
        slowest = max(spent(work, 1)[0] for work in (each, once, each, once))
        repeats = max(1, int(0.1 / slowest))
        turns: list[tuple[float, ...]] = []
        end = time.perf_counter() + options.seconds
        while time.perf_counter() < end or len(turns) < 3:
            turns.append((*spent(each, repeats), *spent(once, repeats)))
        clock, processor = (
            tuple(statistics.median(row[column] for row in turns) for column in columns)
            + (statistics.median(row[columns[1]] / row[columns[0]] for row in turns),)
            for columns in ((0, 2), (1, 3))
        )
        print(
            f"{case:<24}{batch:>6}{1e3 * clock[0]:>12.2f}{1e3 * clock[1]:>10.2f}{clock[2]:>8.2f}"
            f"{1e3 * processor[0]:>12.2f}{1e3 * processor[1]:>10.2f}{processor[2]:>6.2f}{len(turns):>7}",
            flush=True,
        )


if __name__ == "__main__":
    main()
