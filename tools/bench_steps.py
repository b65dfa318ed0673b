"""What mpidl adds to the cost of a gradient: rounds on one rank against torch.optim.SGD loops, measured in one run.

    python tools/bench_steps.py [--seconds 10]

For each model, one agent is timed against one plain loop, and sixteen agents against sixteen: the same network,
data, batch size and momentum, all interleaved in short turns, so that a slow moment of the machine meets everybody.
Printed are the median of the turns' ratios and their quartiles. One thread; a GPU where there is one.
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
from mpidl.data import Dataset
from mpidl.experiment import Config

BATCH, LR, MOMENTUM = 32, 0.01, 0.9
MODELS = {
    "mlp 64-32-10": ({"name": "mlp", "hidden": [32]}, (64,)),
    "resnet20, group norm": ({"name": "resnet20", "norm": "group"}, (3, 32, 32)),
}


def images(shape: list[int], examples: int) -> Dataset:
    """Noise with ten classes: speed does not depend on what is learned."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(examples, *shape)).astype(np.float32)
    y = rng.integers(10, size=examples)
    return Dataset(x, y, x[:8], y[:8], classes=10)


def mpidl_turn(model: dict[str, Any], shape: tuple[int, ...], agents: int, comm: Any) -> Callable[[], None]:
    """One round of all agents."""
    from mpidl.experiment.compose import compose

    data = {"name": "bench_steps:images", "shape": list(shape), "examples": 256 * agents, "batch": BATCH}
    keys = {
        "agents": agents,
        "model": model,
        "data": data,
        "algorithm": {"name": "dsgd", "lr": LR, "momentum": MOMENTUM},
        "graph": "ring",
        "train": {"rounds": 10**9},
        "evaluate": {"every": 10**8},
    }
    training = compose(reading.validate(Config, keys), comm).training
    # The divergence watch looks once an epoch, as in any run.
    return training.run_round


def plain_turn(model: dict[str, Any], shape: tuple[int, ...], agents: int, device: torch.device) -> Callable[[], None]:
    """One step of so many loops as anybody would write them."""
    from mpidl.models import MODELS as registry

    data = images(list(shape), 256)
    x, y = torch.as_tensor(data.x, device=device), torch.as_tensor(data.y, device=device)
    loops = []
    for _ in range(agents):
        module = registry.parse(model).build(shape, 10).to(device)
        optimizer = torch.optim.SGD(module.parameters(), lr=LR, momentum=MOMENTUM)
        loops.append((module, optimizer, iter(())))

    def step() -> None:
        for place, (module, optimizer, batches) in enumerate(loops):
            batch = next(batches, None)
            if batch is None:
                batches = iter(torch.randperm(256, device=device).split(BATCH))
                loops[place] = (module, optimizer, batches)
                batch = next(batches)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(x[batch]), y[batch]).backward()
            optimizer.step()

    return step


def seconds(turn: Callable[[], None], repeats: int, device: torch.device) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        turn()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return (time.perf_counter() - begin) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each of the four lines")
    wanted = parser.parse_args().seconds
    comm = startup.start("auto", 1)
    device = accelerator.in_use() or torch.device("cpu")
    print(f"{'model':24}{'agents':>7}{'plain loop':>14}{'mpidl':>14}{'ratio':>8}   quartiles")
    for name, (model, shape) in MODELS.items():
        for agents in (1, 16):
            ours, plain = mpidl_turn(model, shape, agents, comm), plain_turn(model, shape, agents, device)
            once = max(seconds(ours, 3, device), seconds(plain, 3, device))
            # A turn is long enough for caches and allocator to settle, and each goes first every other time.
            repeats = max(4 if agents == 1 else 1, int(0.05 / once))
            turns = []
            end = time.perf_counter() + wanted
            while time.perf_counter() < end or len(turns) < 6:
                first, second = (plain, ours) if len(turns) % 2 else (ours, plain)
                pair = seconds(first, repeats, device), seconds(second, repeats, device)
                turns.append(pair if first is plain else pair[::-1])
            ratios = sorted(ours / plain for plain, ours in turns)
            low, ratio, high = statistics.quantiles(ratios, n=4)
            plain_ms, ours_ms = (1e3 * statistics.median(column) for column in zip(*turns, strict=True))
            times = f"{plain_ms:11.3f} ms{ours_ms:11.3f} ms"
            print(f"{name:24}{agents:7d}{times}{ratio:8.2f}   {low:.2f} to {high:.2f} ({len(turns)} turns)", flush=True)


if __name__ == "__main__":
    main()
