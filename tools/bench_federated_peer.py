"""Rounds of federated averaging in Flower's simulation, for tools/bench_federated.py, which starts it.

    PYTHON tools/bench_federated_peer.py mlp [--rounds 8] [--cores 1]

PYTHON is that of an environment with `flwr[simulation]` and torch, and without mpidl. The task is that of
bench_federated: 100 agents, five local steps of SGD with a batch of 8, and the mean of what they arrive at. The network
and the data are made once in each worker process, and parameters travel as Flower's own arrays. Prints as JSON the
seconds of every round but the first two, in which workers start.
"""

from __future__ import annotations

import argparse
import json
import logging
import time

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import nn

AGENTS, STEPS, BATCH, LR = 100, 5, 8, 0.01
SHAPES = {"mlp": (64,), "cnn": (3, 32, 32)}
STARTING = 2
"""Rounds that are not timed."""

Parts = tuple[nn.Module, torch.Tensor, torch.Tensor]


def network(model: str) -> nn.Module:
    """That of bench_federated, layer by layer."""
    if model == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    convolutions = [nn.Conv2d(3, 64, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 64, 5), nn.ReLU(), nn.MaxPool2d(2)]
    dense = [nn.Linear(1600, 384), nn.ReLU(), nn.Linear(384, 192), nn.ReLU(), nn.Linear(192, 10)]
    return nn.Sequential(*convolutions, nn.Flatten(), *dense)


kept: dict[str, Parts] = {}


def parts(model: str) -> Parts:
    """The network and everybody's data, made once in a process."""
    if model not in kept:
        torch.set_num_threads(1)
        draw, count = torch.Generator().manual_seed(1), AGENTS * STEPS * BATCH
        x = torch.randn(count, *SHAPES[model], generator=draw)
        kept[model] = network(model), x, torch.randint(10, (count,), generator=draw)
    return kept[model]


def client(model: str) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        module, x, y = parts(model)
        module.load_state_dict(message.content["arrays"].to_torch_state_dict())
        agent, size = int(context.node_config["partition-id"]), STEPS * BATCH
        optimizer = torch.optim.SGD(module.parameters(), lr=LR)
        for batch in (agent * size + torch.randperm(size)).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(x[batch]), y[batch]).backward()
            optimizer.step()
        records = {"arrays": ArrayRecord(module.state_dict()), "metrics": MetricRecord({"num-examples": size})}
        return Message(content=RecordDict(records), reply_to=message)

    return app


def server(model: str, rounds: int, ends: list[float]) -> ServerApp:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=AGENTS, min_available_nodes=AGENTS)

        def note(number: int, arrays: ArrayRecord) -> None:
            ends.append(time.perf_counter())

        strategy.start(grid, ArrayRecord(network(model).state_dict()), num_rounds=rounds, evaluate_fn=note)

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=SHAPES)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--cores", type=int, default=1)
    arguments = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    ends: list[float] = []
    backend = {"init_args": {"num_cpus": arguments.cores, "log_to_driver": False}, "client_resources": {"num_cpus": 1}}
    run_simulation(server(arguments.model, arguments.rounds, ends), client(arguments.model), AGENTS, "ray", backend)
    # The first is noted before the first round.
    print(json.dumps([end - begin for begin, end in zip(ends[STARTING:], ends[STARTING + 1 :], strict=False)]))


if __name__ == "__main__":
    main()
