"""Stopping a run that cannot go well: before it begins, where its network fails; later, where it diverges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mpidl.errors import Diverged
from mpidl.training.loop import Hook, Training

if TYPE_CHECKING:
    from mpidl.training.evaluate import Evaluator
    from mpidl.training.gradients import Gradients
    from mpidl.training.observations import Observations

_LOSS, _PARAMETERS = 0, 1


class NetworkCheck(Hook):
    """Gradients and an evaluation before anything is written, so that what is wrong with a network shows at once."""

    def __init__(self, gradients: Gradients, evaluator: Evaluator, steps: int) -> None:
        """`steps`: how many an agent takes in the run."""
        self._gradients, self._evaluator, self._steps = gradients, evaluator, steps

    def check(self, training: Training) -> None:
        self._gradients.check(training.world.mine, self._steps)
        self._evaluator.check()


class DivergenceWatch(Hook):
    """Every `every` rounds, all ranks look whether a loss or a parameter has stopped being finite.

    The earliest round and, within it, the lowest agent is named, whatever the number of ranks. All ranks stop at once.
    """

    def __init__(self, observations: Observations, every: int) -> None:
        self._observations, self._every = observations, every

    def after_round(self, training: Training, done: int) -> None:
        if training.due(self._every, done):
            self._look(training)

    def settle(self, training: Training) -> None:
        # What has diverged is not worth keeping.
        self._look(training)

    def _look(self, training: Training) -> None:
        done = training.done
        algorithm = training.algorithm
        block = algorithm.model(algorithm.models[-1])
        # In a round, a loss is lost before the parameters that follow from it.
        bad = [(t + 1, agent, _LOSS) for agent, t in self._observations.first_bad().items()]
        if block.ndim == 2:
            bad += [(done, a, _PARAMETERS) for a, x in zip(algorithm.agents, block, strict=True) if not _finite(x)]
        elif not _finite(block):
            bad.append((done, training.world.agents, _PARAMETERS))
        everywhere = training.world.concatenate(np.array(bad, dtype=np.float64).reshape(-1, 3))
        if not len(everywhere):
            return
        when, agent, what = (int(number) for number in min(everywhere.tolist()))
        holder = "the server" if agent == training.world.agents else f"agent {agent}"
        raise Diverged(
            f"the {'loss' if what == _LOSS else 'parameters'} of {holder} stopped being finite in round {when}; "
            f"try a smaller algorithm.lr (it was {algorithm.lr:g}), a warm-up, or algorithm.clip_norm"
        )


def _finite(row: Tensor) -> bool:
    # Ten times as fast as to look at each number, which is done where squares are too large to tell.
    return bool(torch.isfinite(row.dot(row))) or bool(torch.isfinite(row).all())
