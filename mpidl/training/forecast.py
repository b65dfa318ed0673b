"""How long measuring will take beside training, told before a run begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from mpidl.spoken import duration
from mpidl.training.loop import Hook, Training

if TYPE_CHECKING:
    from mpidl.data.batches import Batches
    from mpidl.training.evaluate import Evaluator
    from mpidl.training.gradients import Gradients
    from mpidl.training.record import Cadence

# Shorter evaluations need no warning, however short the training is.
WORTH_A_WARNING = 10.0


class Forecast(Hook):
    """Times one gradient and one chunk of evaluation on this rank, once both have been checked, and counts them.

    It knows of gradients only that every example drawn takes one, and so tells the least that training will take.
    """

    def __init__(
        self, gradients: Gradients, evaluator: Evaluator, batches: Batches, drawn: float, cadence: Cadence
    ) -> None:
        """`drawn`: the examples that all agents will draw."""
        self._gradients, self._evaluator, self._batches = gradients, evaluator, batches
        self._drawn, self._cadence = drawn, cadence
        self.training = self.evaluation = self.longest = 0.0
        """Seconds of all gradients, of all evaluations, and of one evaluation."""

    def check(self, training: Training) -> None:
        world, evaluator, cadence = training.world, self._evaluator, self._cadence
        batches, agent = self._batches, world.mine[0]
        per_example = _seconds(lambda: self._gradients.check([agent], 0), world.device) / batches.examples(agent, 0)
        gradient = per_example / world.size
        chunk = min(batches.chunk_size, batches.size_of(evaluator.parts[0]))
        each = _seconds(evaluator.check, world.device) / chunk
        shared = each * evaluator.shared_examples / world.size
        own = each * evaluator.own_examples * len(world.mine)
        whole = gradient * sum(training.algorithm.sizes.values())
        self.longest = shared + own + (whole if cadence.gradients else 0.0)
        self.training = gradient * self._drawn
        amounts = ((1, shared), (cadence.own, own), (cadence.gradients, whole))
        self.evaluation = sum(cadence.records(training, rarely) * seconds for rarely, seconds in amounts)
        self._records = cadence.records(training)

    @property
    def sentence(self) -> str:
        """What both will take."""
        return (
            f"gradients take at least {duration(self.training)}, evaluation about {duration(self.evaluation)} "
            f"({self._records} times up to {duration(self.longest)})"
        )

    @property
    def warning(self) -> str | None:
        """A sentence where evaluation takes longer than training, and long."""
        if self.evaluation <= max(self.training, WORTH_A_WARNING):
            return None
        own = ", and local_every and local_examples those of agents' own models" if self._evaluator.own_examples else ""
        return (
            f"evaluation will take about {duration(self.evaluation)}, longer than the gradients "
            f"({duration(self.training)}): evaluate.every says how often there is one{own}"
        )


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    """How long the work takes that has been done before."""
    begin = time.perf_counter()
    work()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - begin
