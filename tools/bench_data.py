#!/usr/bin/env python3
"""What a batch costs beside the round that uses it: resnet20, batch 32, images of CIFAR-10's shape.

    python tools/bench_data.py [--device cuda] [--rounds 30]

Each line is one way of keeping the data, measured in turn with the rounds, so that a busy machine slows both alike.
The promise is a share under 5 % on a CPU. Pixels are random; no data set is needed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from mpidl.data import Dataset
from mpidl.data.batches import Batches, Storage
from mpidl.data.transform import Moves
from mpidl.models import MODELS

WAYS = {
    "on the device": (False, Moves()),
    "on the device, crop 4 and flip": (False, Moves(crop=4, flip=True)),
    "streamed": (True, Moves()),
    "streamed, crop 4 and flip": (True, Moves(crop=4, flip=True)),
}


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, to its end on the device."""
    synchronise = (lambda: None) if device.type == "cpu" else torch.accelerator.synchronize
    synchronise()
    start = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (10_000, 3, 32, 32), dtype=np.uint8)
    labels = rng.integers(0, 10, len(pixels))
    channels = {"scale": 1 / 255, "mean": (0.49, 0.48, 0.45), "std": (0.25, 0.24, 0.26)}
    dataset = Dataset(pixels, labels, pixels[:100], labels[:100], classes=10, **channels)
    module = MODELS.parse({"name": "resnet20", "norm": "group"}).build(dataset.example_shape, dataset.outputs)
    module.to(device)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)

    def round_of(x: torch.Tensor, y: torch.Tensor) -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()

    shares = np.array_split(np.arange(len(pixels)), 4)
    batches = {
        name: Batches(dataset, shares, 32, 0, Storage(device, torch.float32, streamed=streamed), moves)
        for name, (streamed, moves) in WAYS.items()
    }
    costs: dict[str, list[float]] = {name: [] for name in WAYS}
    rounds: list[float] = []
    for step in range(options.rounds + 3):
        for name, found in batches.items():
            spent = seconds(lambda found=found, step=step: found.batch(step % 4, step // 4), device)
            x, y = batches["on the device"].batch(step % 4, step // 4)
            trained = seconds(lambda x=x, y=y: round_of(x, y), device)
            # The first steps pay for what is made once.
            if step >= 3:
                costs[name].append(spent)
                rounds.append(trained)
    per_round = statistics.median(rounds)
    print(f"resnet20 round at batch 32 on {device}, {options.threads} threads: {1e3 * per_round:.2f} ms")
    print(f"{'data':<32}{'batch':>10}{'share of a round':>20}")
    for name, values in costs.items():
        cost = statistics.median(values)
        print(f"{name:<32}{1e6 * cost:>7.0f} µs{100 * cost / per_round:>18.2f} %")
    for found in batches.values():
        found.close()


if __name__ == "__main__":
    main()
