"""What a rank of `bench_training.py` does: it waits for turns, and in each trains some rounds of its contestant.

Started by that program only, with the contestant's name and the socket on which it is told what to do.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

BATCH, LR, MOMENTUM = 32, 0.01, 0.9
SHAPE, EXAMPLES, CLASSES = (3, 32, 32), 256, 10
WARM_UP = 3

MODELS: dict[str, dict[str, Any]] = {
    "resnet20 with group norm": {"name": "resnet20", "norm": "group"},
    "mlp": {"name": "mlp", "hidden": [2848, 2848, 2848]},
}
CONTESTANTS: dict[str, tuple[str, dict[str, str]]] = {
    "gradient alone": ("gradient", {}),
    "gradient and step": ("local", {}),
    "mpidl ring": ("mpidl", {"graph": "ring", "transport": "auto"}),
    "mpidl ring messages": ("mpidl", {"graph": "ring", "transport": "messages"}),
    "mpidl one-peer": ("mpidl", {"graph": "one-peer-exponential", "transport": "auto"}),
    "mpidl one-peer messages": ("mpidl", {"graph": "one-peer-exponential", "transport": "messages"}),
    "DDP": ("ddp", {}),
    "Decent-DP ring": ("decent", {"topology": "ring"}),
    "Decent-DP one-peer": ("decent", {"topology": "one-peer-exp"}),
}

Step = Callable[[], object]


def images(examples: int) -> Any:
    """Noise with ten classes: speed does not depend on what is learned."""
    import numpy as np

    from mpidl.data import Dataset

    rng = np.random.default_rng(0)
    x = rng.normal(size=(examples, *SHAPE)).astype(np.float32)
    y = rng.integers(CLASSES, size=examples)
    return Dataset(x, y, x[:8], y[:8], classes=CLASSES)


@functools.cache
def communicator() -> Any:
    from mpidl.comm import startup

    return startup.start("cpu", 1)


@contextlib.contextmanager
def mpidl_run(model: dict[str, Any], graph: str, transport: str) -> Iterator[Step]:
    """A round of mpidl as any run has it, except that nothing is evaluated."""
    from mpidl import config as reading
    from mpidl.experiment import Config
    from mpidl.experiment.compose import compose

    comm = communicator()
    keys = {
        "agents": comm.size,
        "model": model,
        "data": {"name": f"{Path(__file__).stem}:images", "examples": EXAMPLES * comm.size, "batch": BATCH},
        "algorithm": {"name": "dsgd", "lr": LR, "momentum": MOMENTUM},
        "graph": graph,
        "gossip": {"transport": transport},
        "train": {"rounds": 10**9, "device": "cpu"},
        "evaluate": {"every": 10**8},
    }
    run = compose(reading.validate(Config, keys), comm)
    yield run.training.step
    run.close()


@contextlib.contextmanager
def torch_run(model: dict[str, Any], library: str, store: str, topology: str = "") -> Iterator[Step]:
    """The loop that anybody would write, around the network or around what a library makes of it."""
    import torch
    import torch.distributed as dist

    from mpidl.models import MODELS as registry

    # The fastest of torch's implementations on a CPU.
    optimizer_of = functools.partial(torch.optim.SGD, lr=LR, momentum=MOMENTUM, fused=True)
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    data = images(EXAMPLES * size)
    x, y = torch.as_tensor(data.x[rank::size]), torch.as_tensor(data.y[rank::size])
    torch.manual_seed(0)
    module = registry.parse(model).build(SHAPE, CLASSES)
    if library == "decent":
        from decent_dp.ddp import DecentralizedDataParallel

        # Steps, zeroes gradients and communicates in hooks of the backward pass.
        module = DecentralizedDataParallel(module, lambda named: optimizer_of([p for _, p in named]), topology=topology)
    elif library == "ddp":
        module = torch.nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True)
    module.train()
    optimizer = None if library == "decent" else optimizer_of(module.parameters())
    batches: Iterator[Any] = iter(())

    def step() -> None:
        nonlocal batches
        batch = next(batches, None)
        if batch is None:
            batches = iter(torch.randperm(EXAMPLES).split(BATCH))
            batch = next(batches)
        if optimizer:
            optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(x[batch]), y[batch]).backward()
        if library in ("local", "ddp"):
            optimizer.step()
        if library in ("gradient", "local"):
            dist.barrier()

    yield step
    if library == "decent":
        # Waits for what is still on its way.
        module.global_avg(will_revert=False)
    dist.destroy_process_group()


def turn(library: str, keys: dict[str, str], model: str, rounds: int, store: str) -> list[float]:
    """On the clock of this machine, when the warm-up ended, and then each round."""
    run = mpidl_run(MODELS[model], **keys) if library == "mpidl" else torch_run(MODELS[model], library, store, **keys)
    with run as step:
        for _ in range(WARM_UP):
            step()
        ends = [time.perf_counter()]
        for _ in range(rounds):
            step()
            ends.append(time.perf_counter())
    # Hooks make circles of references, and the memory is wanted for the next contestant.
    gc.collect()
    return ends


def main(name: str, address: str) -> None:
    import torch

    torch.set_num_threads(1)
    library, keys = CONTESTANTS[name]
    if library == "mpidl":
        communicator()
    with Client(address, "AF_UNIX") as link, contextlib.suppress(EOFError):
        while True:
            task = link.recv()
            try:
                link.send(turn(library, keys, **task))
            except Exception as error:
                link.send(f"{type(error).__name__}: {error}")
                raise


if __name__ == "__main__":
    main(*sys.argv[1:])
