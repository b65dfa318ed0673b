"""Keeping the models of a run in its file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mpidl.comm.moves import gather_rows
from mpidl.errors import SaveError
from mpidl.training.loop import Hook, Training

if TYPE_CHECKING:
    from mpidl.results.run_file import RunFile

log = logging.getLogger("mpidl")


class Snapshots(Hook):
    """Every so many rounds and after the last, each model as it is; agents' own models go to rank 0 for that.

    What cannot be saved does not stop the training: a person is told, and `unsaved` says what was lost last.
    """

    def __init__(
        self, run_file: RunFile | None, every: int, models: Sequence[str], parameters: Mapping[str, Sequence[int]]
    ) -> None:
        """`run_file` is rank 0's; `parameters` are the names and shapes of what a row holds."""
        self._run_file, self._every, self._models, self._parameters = run_file, every, models, parameters
        self.unsaved: SaveError | None = None

    def after_round(self, training: Training, done: int) -> None:
        if not training.due(self._every, done):
            return
        values = {name: self._whole(training, name) for name in self._models}
        if self._run_file is None:
            return
        room = -(-training.rounds // self._every)
        try:
            self._run_file.snapshot(done, values, self._parameters, room)
        except SaveError as error:
            log.warning("%s; the models of round %d are lost, and training goes on", error, done)
            self.unsaved = error

    def _whole(self, training: Training, name: str) -> np.ndarray:
        """The model [P] that all ranks hold, or on rank 0 the models [agents, P] of all agents."""
        model = training.algorithm.model(name).detach()
        whole = gather_rows(training.world, model) if model.ndim == 2 else model
        if whole is None or self._run_file is None:
            # Rank 0 has the same, and nobody writes it here: on a GPU it stays there.
            return np.empty(0)
        return whole.cpu().numpy()
