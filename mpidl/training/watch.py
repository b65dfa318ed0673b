"""Stopping a run that diverges, on all ranks at once, with the agent and the round to blame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mpidl.errors import DivergenceError
from mpidl.training.loop import Hook, Training

if TYPE_CHECKING:
    from mpidl.comm.reduce import Reducer
    from mpidl.training.gradients import Gradients


class DivergenceWatch(Hook):
    """Every `every` rounds, all ranks look whether a loss or a parameter has stopped being finite.

    The earliest round and, within it, the lowest agent is named, whatever the number of ranks.
    """

    def __init__(self, gradients: Gradients, reduction: Reducer, every: int) -> None:
        self._losses, self._reduction, self._every = gradients.losses, reduction, every

    def after_round(self, training: Training, done: int) -> None:
        if done % self._every and done != training.rounds:
            return
        algorithm = training.algorithm
        block = algorithm.model(algorithm.models[-1])
        # A model that all ranks hold is looked at once.
        rows = block if block.ndim == 2 else block[None]
        lost = np.array([np.inf if torch.isfinite(row).all() else done for row in rows], dtype=float)
        lost = np.broadcast_to(lost, len(algorithm.agents))
        local = np.stack([self._losses.first_bad() + 1, lost], axis=1)
        agents = self._reduction.gather(local)
        if np.isinf(agents).all():
            return
        agent = int(agents.min(axis=1).argmin())
        loss_round, parameter_round = agents[agent]
        holder = f"agent {agent}" if block.ndim == 2 else "the server"
        what, when = f"the parameters of {holder}", parameter_round
        if loss_round <= parameter_round:
            what, when = f"the loss of agent {agent}", loss_round
        raise DivergenceError(
            f"{what} stopped being finite in round {int(when)}; "
            f"try a smaller algorithm.lr (it was {algorithm.lr:g}), a warm-up, or algorithm.clip_norm"
        )
