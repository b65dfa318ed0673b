"""What an algorithm adds to its gradients: a whole round of resnet20 over as many gradients as it takes, on one rank.

    python tools/bench_rounds.py [--seconds 12] [NAME …]

One rank hosts one agent, so nothing travels: what is left is arithmetic on rows. For each algorithm, its rounds
alternate with as many bare gradients of the same network and batch size, in short turns, so that a slow moment of the
machine meets both. Printed are the gradients that a round took, the medians, the median of the turns' ratios, and their
quartiles. One thread, whose own time is taken, so that others on the machine count little; on a GPU, what passes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from mpidl import accelerator
from mpidl import config as reading
from mpidl.algorithms import ALGORITHMS
from mpidl.algorithms.decentralized.base import Decentralized
from mpidl.comm.start import startup
from mpidl.experiment import Config

BATCH = 32
WANTED = {"lr": 0.01, "momentum": 0.9, "local_steps": 2}


def composed(name: str, comm: Any) -> Any:
    """One agent, ready to go, with momentum and more than one step where the algorithm has them."""
    from mpidl.experiment.compose import compose

    method = ALGORITHMS.find(name)
    fields = method.Settings.model_fields
    settings = {key: value for key, value in WANTED.items() if key in fields}
    keys: dict[str, Any] = {
        "agents": 1,
        "model": {"name": "resnet20", "norm": "group"},
        "data": {"name": "bench_steps:images", "shape": [3, 32, 32], "examples": 256, "batch": BATCH},
        "algorithm": {"name": name, **settings},
        "train": {"rounds": 10**9},
        "evaluate": {"every": 10**8},
    }
    if issubclass(method, Decentralized):
        keys["graph"] = "chain"
    return compose(reading.validate(Config, keys), comm)


def counted(run: Any) -> int:
    """The gradients that one round takes."""
    algorithm, asked = run.training.algorithm, []
    oracle = algorithm.oracle

    def counting(agents: Sequence[int], rows: Any, steps: Sequence[int], out: Any) -> None:
        asked.extend(agents)
        oracle(agents, rows, steps, out)

    algorithm.oracle = counting
    run.training.run_round()
    algorithm.oracle = oracle
    return len(asked)


def gradients(run: Any, count: int) -> Callable[[], None]:
    """So many bare gradients, each on a new batch."""
    algorithm = run.training.algorithm
    row = run.rows.flatten()
    out, step = torch.empty_like(row), iter(range(10**9))

    def turn() -> None:
        for _ in range(count):
            algorithm.oracle([0], [row], [next(step)], [out])

    return turn


def seconds(turn: Callable[[], None], repeats: int, device: torch.device) -> float:
    """Of one call, on average."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    begin = clock()
    for _ in range(repeats):
        turn()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return (clock() - begin) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="algorithms; all decentralized ones and csgd by default")
    parser.add_argument("--seconds", type=float, default=12.0, help="time for each")
    wanted = parser.parse_args()
    comm = startup.start("auto", 1)
    device = accelerator.in_use() or torch.device("cpu")
    everything = [name for name in ALGORITHMS if name == "csgd" or issubclass(ALGORITHMS.find(name), Decentralized)]
    print(f"{'algorithm':20}{'gradients':>10}{'gradients alone':>17}{'round':>14}{'ratio':>8}   quartiles")
    for name in wanted.names or everything:
        ours, bare = composed(name, comm), composed("csgd", comm)
        count = counted(ours)
        whole, alone = ours.training.run_round, gradients(bare, count)
        repeats = max(1, int(0.2 / max(seconds(whole, 2, device), seconds(alone, 2, device))))
        turns: list[tuple[float, float]] = []
        while repeats * sum(map(sum, turns)) < wanted.seconds or len(turns) < 8:
            first, second = (alone, whole) if len(turns) % 2 else (whole, alone)
            pair = seconds(first, repeats, device), seconds(second, repeats, device)
            turns.append(pair if first is alone else pair[::-1])
        low, ratio, high = statistics.quantiles((whole / alone for alone, whole in turns), n=4)
        alone_ms, whole_ms = (1e3 * statistics.median(column) for column in zip(*turns, strict=True))
        times = f"{alone_ms:14.2f} ms{whole_ms:11.2f} ms"
        print(f"{name:20}{count:10d}{times}{ratio:8.3f}   {low:.3f} to {high:.3f} ({len(turns)} turns)", flush=True)
        ours.close()
        bare.close()


if __name__ == "__main__":
    main()
