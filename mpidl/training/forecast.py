"""How long measuring will take beside training, told before a run begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

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
            f"gradients will take at least {_spoken(self.training)}, evaluation about {_spoken(self.evaluation)} "
            f"({self._records} times up to {_spoken(self.longest)})"
        )

    @property
    def warning(self) -> str | None:
        """A sentence where evaluation takes longer than training, and long."""
        if self.evaluation <= max(self.training, WORTH_A_WARNING):
            return None
        own = ", and local_every and local_examples those of agents' own models" if self._evaluator.own_examples else ""
        return (
            f"evaluation will take about {_spoken(self.evaluation)}, longer than the gradients "
            f"({_spoken(self.training)}): evaluate.every says how often there is one{own}"
        )


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    """How long the work takes that has been done before."""
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


def _spoken(seconds: float) -> str:
    """`0.3 s`, `12 s`, `7 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.2g} min" if seconds < 6000 else f"{seconds / 3600:.2g} h"
