"""What a rank of `bench_training.py` does: it waits for turns, and in each trains some rounds of one contestant.

Started by that program only, with the name of a library and the socket on which it is told whose turn it is.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Client, Connection
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
# By name, the library and what it is told. Contestants of one library are run by one launch.
CONTESTANTS: dict[str, tuple[str, dict[str, str]]] = {
    "gradient alone": ("torch", {"method": "gradient"}),
    "gradient and step": ("torch", {"method": "step"}),
    "mpidl ring": ("mpidl", {"graph": "ring"}),
    "mpidl ring messages": ("mpidl", {"graph": "ring", "transport": "messages"}),
    "mpidl ring meanwhile": ("mpidl", {"graph": "ring", "order": "adapt-while-communicate"}),
    "mpidl one-peer": ("mpidl", {"graph": "one-peer-exponential"}),
    "mpidl one-peer messages": ("mpidl", {"graph": "one-peer-exponential", "transport": "messages"}),
    "mpidl one-peer meanwhile": ("mpidl", {"graph": "one-peer-exponential", "order": "adapt-while-communicate"}),
    "DDP": ("torch", {"method": "ddp"}),
    "Decent-DP ring": ("decent", {"method": "decent", "topology": "ring"}),
    "Decent-DP one-peer": ("decent", {"method": "decent", "topology": "one-peer-exp"}),
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
    from mpidl.comm.start import startup

    return startup.start("cpu", 1)


@contextlib.contextmanager
def mpidl_run(
    model: dict[str, Any], graph: str, transport: str = "auto", order: str = "adapt-then-combine"
) -> Iterator[Step]:
    """A round of mpidl as any run has it, except that nothing is evaluated."""
    from mpidl import config as reading
    from mpidl.experiment import Config
    from mpidl.experiment.compose import compose

    comm = communicator()
    keys = {
        "agents": comm.size,
        "model": model,
        "data": {"name": f"{Path(__file__).stem}:images", "examples": EXAMPLES * comm.size, "batch": BATCH},
        "algorithm": {"name": "dsgd", "lr": LR, "momentum": MOMENTUM, "order": order},
        "graph": graph,
        "gossip": {"transport": transport},
        "train": {"rounds": 10**9, "device": "cpu"},
        "evaluate": {"every": 10**8},
    }
    run = compose(reading.validate(Config, keys), comm)
    yield run.training.run_round
    run.close()


@contextlib.contextmanager
def torch_run(model: dict[str, Any], store: str, method: str, topology: str = "") -> Iterator[Step]:
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
    if method == "decent":
        from decent_dp.ddp import DecentralizedDataParallel

        # Steps, zeroes gradients and communicates in hooks of the backward pass.
        module = DecentralizedDataParallel(module, lambda named: optimizer_of([p for _, p in named]), topology=topology)
    elif method == "ddp":
        module = torch.nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True)
    module.train()
    optimizer = None if method == "decent" else optimizer_of(module.parameters())
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
        if method in ("step", "ddp"):
            optimizer.step()
        if method in ("gradient", "step"):
            dist.barrier()

    yield step
    if method == "decent":
        # Waits for what is still on its way.
        module.global_avg(will_revert=False)
    dist.destroy_process_group()


def turn(name: str, model: str, rounds: int, store: str) -> list[float]:
    """On the clock of this machine, when the warm-up ended, and then each round."""
    library, keys = CONTESTANTS[name]
    run = mpidl_run(MODELS[model], **keys) if library == "mpidl" else torch_run(MODELS[model], store, **keys)
    with run as step:
        for _ in range(WARM_UP):
            step()
        ends = [time.perf_counter()]
        for _ in range(rounds):
            step()
            ends.append(time.perf_counter())
    # Where references are circular; the memory is wanted for the next contestant.
    gc.collect()
    return ends


def answer(link: Connection, task: dict[str, Any]) -> None:
    try:
        link.send(turn(**task))
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1].name
        link.send(f"{type(error).__name__}: {str(error) or f'raised in {place}'}")
        raise


def import_ahead(library: str) -> None:
    """What turns need, once before they fork."""
    import torch

    from mpidl.comm.start.startup import keep_freed_memory

    # As the ranks of mpidl do, so that the ratios are not those of two allocators.
    keep_freed_memory()

    for module in ("mpidl.data", "mpidl.models", *(["decent_dp.ddp"] if library == "decent" else [])):
        importlib.import_module(module)
    # The first step of an optimizer imports the compiler.
    torch.optim.SGD([torch.zeros(1)]).step()


def main(library: str, address: str) -> None:
    import torch

    torch.set_num_threads(1)
    if library == "mpidl":
        communicator()
    else:
        import_ahead(library)
    with Client(address, "AF_UNIX") as link, contextlib.suppress(EOFError):
        while True:
            task = link.recv()
            if library == "mpidl":
                answer(link, task)
                continue
            # In a process of its own, with which all ends that a library would keep: Decent-DP keeps 0.4 GB a turn of
            # the larger network. Ranks of MPI cannot be forked.
            child = get_context("fork").Process(target=answer, args=(link, task))
            child.start()
            child.join()
            if child.exitcode:
                sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
