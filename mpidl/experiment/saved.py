"""A model out of a checkpoint: its run is composed once more, in one process, and given the state that was saved."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from mpidl import config as reading
from mpidl import notation
from mpidl.comm.start import startup
from mpidl.errors import ResultsError
from mpidl.experiment.compose import compose
from mpidl.experiment.measuring import refuse_plug_ins
from mpidl.experiment.resume import load
from mpidl.experiment.schema import Config
from mpidl.layout import CONSTANTS
from mpidl.results import models
from mpidl.results.checkpoints.reader import Checkpoint
from mpidl.results.models import OWN, Kept, KeptModel


def model_of_checkpoint(checkpoint: Checkpoint, model: str | int | None = None, plug_ins: bool = False) -> KeptModel:
    """A model by its name, or an agent's own by its number, with the statistics that it has; by default what all hold.

    Needs the data of the run, and memory for all its agents. Code that does not come with mpidl runs if `plug_ins` says
    so.
    """
    checkpoint.verify()
    keys = notation.load(checkpoint.facts.config, "its configuration")
    if not isinstance(keys, dict):
        raise ResultsError(f"the checkpoint {str(checkpoint.path)!r} has no configuration")
    refuse_plug_ins(checkpoint.path, keys, plug_ins)
    config = reading.validate(Config, keys | {"agents": checkpoint.facts.agents})
    run = compose(config, startup.start(config.train.device, config.train.threads))
    try:
        load(run.state, checkpoint)
        names = config.evaluate.models or run.training.algorithm.models
        held = {name: run.world.agents if name == OWN else None for name in names}
        name, agent = models.named(checkpoint.path, Kept("checkpoint", 0, checkpoint.facts.round, held), model)
        found = next(islice(run.models.rows(name), agent or 0, None))
        rows = {kind: np.array(row) for kind, row in found.items()} | {CONSTANTS: run.models.form.constants}
        return KeptModel(Path(checkpoint.path), name, agent, checkpoint.facts.round, run.models.form.network, rows)
    finally:
        run.close()
