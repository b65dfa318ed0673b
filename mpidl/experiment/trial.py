"""What ranks do before they train, for a dry run: it refuses what they would, in their words, without any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mpidl.comm.meters import Meters
from mpidl.comm.start import device as devices
from mpidl.data.batches import EvaluationPart, Storage
from mpidl.experiment import resume as resuming
from mpidl.experiment.context import movable
from mpidl.experiment.inputs import Inputs
from mpidl.experiment.requirements import require_compiler, require_main_memory
from mpidl.experiment.schema import Config
from mpidl.models.losses import per_example_loss
from mpidl.parameters import RowModule
from mpidl.training.batched import BatchedGradients
from mpidl.training.evaluate import Evaluator
from mpidl.training.gradients import Gradients
from mpidl.training.learner import Learner
from mpidl.training.observations import Observations

LARGEST = 2**28
"""Bytes of parameters up to which a network is tried: this machine may be one where nobody is to compute."""


@dataclass(frozen=True)
class AllAgents:
    """In place of all ranks, one that has all agents."""

    agents: int
    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def mine(self) -> tuple[int, ...]:
        return tuple(range(self.agents))

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values


def device_of(config: Config, elsewhere: bool = False) -> torch.device:
    """What the first rank of this machine would compute on, once it is seen to have what the run requires.

    `elsewhere`: ranks are on hosts of whose GPUs this one knows nothing, and only what a CPU shows is tried.
    """
    device = devices.choose("cpu" if elsewhere else config.train.device, 0)
    require_main_memory(config, device)
    require_compiler(config)
    return device


def require_resumable(inputs: Inputs, output: Path, allowed: Sequence[str]) -> None:
    """Refuses to go on with a run of other data, another length, or none that can be gone on with."""
    known = resuming.Known(inputs.length.rounds, inputs.known)
    resuming.check(inputs.config, inputs.agents, output, allowed, known)


def try_out(inputs: Inputs, device: torch.device) -> bool:
    """Has the network compute a gradient and an evaluation on the device; whether it has, as a large one does not."""
    config = inputs.config
    rows = RowModule(inputs.network())
    if rows.size * inputs.precision.rows.itemsize > LARGEST:
        return False
    rows = RowModule(rows.module.to(device))
    # What is looked at alone is read, instead of all.
    data = config.data.model_copy(update={"place": "own", "stream": True})
    batches = data.batches(inputs.dataset, inputs.shares, config.seed, Storage(device, inputs.precision.rows, mine=()))
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error" if config.train.deterministic else "default")
    try:
        loss = config.loss or per_example_loss(inputs.dataset.task)
        learner = Learner(rows, batches, loss, inputs.precision, config.seed, config.model.name)
        world = AllAgents(inputs.agents, device)
        oracle = BatchedGradients if config.train.batched else Gradients
        oracle(learner, None, Observations(device, movable(config)), Meters()).check(world.mine, inputs.length.steps)
        parts: list[EvaluationPart] = ["test", "validation"] if len(inputs.shares.validation) else ["test"]
        models, counts_hits = config.evaluate.models or config.method.models, inputs.dataset.task != "regression"
        Evaluator(learner, world, None, models, parts, counts_hits, config.evaluate.local_examples).check()
    finally:
        torch.set_deterministic_debug_mode(before)
        batches.close()
    return True
