"""A round of many small agents on one rank against one dense product, measured in one run on one machine.

    python tools/bench_agents.py [--agents 64] [--parameters 2000] [--seconds 5]

Both compute W X in float32 on one thread; a GPU where there is one. They take turns of twenty rounds, so that a slow
moment of the machine meets both. Printed are the medians of a round and the median and quartiles of the turns' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from mpidl import accelerator
from mpidl.comm.start import startup

GRAPHS = ("ring", "torus", "hypercube", "exponential", "one-peer-exponential", "random-regular", "erdos-renyi")
SETTINGS: dict[str, dict[str, Any]] = {"random-regular": {"degree": 4}}
ROUNDS = 20


def contestants(graph: str, agents: int, parameters: int, comm: Any, device: torch.device) -> list[Callable[[], None]]:
    """One round of mpidl's, and one dense product with the graph's first matrix."""
    from mpidl.comm.gossip.exchange import RowExchange
    from mpidl.comm.gossip.neighbourhood import Neighbourhood
    from mpidl.comm.gossip.settings import GossipSettings
    from mpidl.comm.meters import Meters
    from mpidl.comm.world import World
    from mpidl.graphs import GRAPHS as registry

    topology = registry.parse({"name": graph, **SETTINGS.get(graph, {})}).build(agents, 0)
    neighbourhood = Neighbourhood(World(comm, agents, device), topology, GossipSettings(), Meters())
    exchange = RowExchange(neighbourhood, "rows", parameters, torch.float32, gamma=1.0)
    block = exchange.blocks[0].copy_(torch.randn(agents, parameters))
    X, W = block.clone(), torch.tensor(topology.at(0).dense(), dtype=torch.float32, device=device)
    out, t = torch.empty_like(X), 0

    def mix() -> None:
        nonlocal block, t
        block, t = exchange.mix(block, t), t + 1

    return [mix, lambda: torch.mm(W, X, out=out)]  # type: ignore[list-item, return-value]


def seconds(turn: Callable[[], None], device: torch.device) -> float:
    begin = time.perf_counter()
    for _ in range(ROUNDS):
        turn()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return (time.perf_counter() - begin) / ROUNDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=64)
    parser.add_argument("--parameters", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each graph")
    arguments = parser.parse_args()
    comm = startup.start("auto", 1)
    device = accelerator.in_use() or torch.device("cpu")
    print(f"{arguments.agents} agents of {arguments.parameters} parameters on {device.type}, torch {torch.__version__}")
    print(f"{'graph':24}{'round':>13}{'dense product':>15}{'ratio':>8}   quartiles")
    for graph in GRAPHS:
        mix, dense = contestants(graph, arguments.agents, arguments.parameters, comm, device)
        for turn in (mix, dense):
            seconds(turn, device)
        turns = []
        end = time.perf_counter() + arguments.seconds
        while time.perf_counter() < end:
            turns.append((seconds(mix, device), seconds(dense, device)))
        mixing, product = (1e3 * statistics.median(column) for column in zip(*turns, strict=True))
        low, ratio, high = statistics.quantiles((ours / other for ours, other in turns), n=4)
        times = f"{mixing:10.3f} ms{product:12.3f} ms{ratio:8.2f}"
        print(f"{graph:24}{times}   {low:.2f} to {high:.2f} ({len(turns)} turns)", flush=True)


if __name__ == "__main__":
    main()
