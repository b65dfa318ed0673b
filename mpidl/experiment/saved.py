"""A model out of a checkpoint: its run is composed once more, in one process, and given the state that was saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mpidl import config as reading
from mpidl import notation
from mpidl.comm.placement import Placement
from mpidl.comm.start import startup
from mpidl.errors import ResultsError
from mpidl.experiment.compose import ComposedRun, compose
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
    with _composed(checkpoint, plug_ins) as (run, kept):
        name, agent = models.named(checkpoint.path, kept, model)
        return next(islice(_models(run, checkpoint, name), agent or 0, None)).refuse_gone()


def models_of_checkpoint(checkpoint: Checkpoint, plug_ins: bool = False) -> tuple[Kept, dict[str, list[KeptModel]]]:
    """All models that the run evaluates, by name: one that all hold, or each agent's own."""
    with _composed(checkpoint, plug_ins) as (run, kept):
        return kept, {name: list(_models(run, checkpoint, name)) for name in kept.models}


@contextmanager
def _composed(checkpoint: Checkpoint, plug_ins: bool) -> Iterator[tuple[ComposedRun, Kept]]:
    """The run with the state of the checkpoint, and what it has of models."""
    checkpoint.verify()
    config = reading.validate(Config, checkpoint_keys(checkpoint, plug_ins))
    comm = startup.start(config.train.device, config.train.threads)
    placement = Placement.contiguous(checkpoint.facts.agents, comm.size, checkpoint.facts.gone)
    run = compose(config, comm, placement=placement)
    try:
        load(run.state, checkpoint)
        names = config.evaluate.models or run.training.algorithm.models
        held = {name: run.world.agents if name == OWN else None for name in names}
        yield run, Kept("checkpoint", 0, checkpoint.facts.round, held)
    finally:
        run.close()


def checkpoint_keys(checkpoint: Checkpoint, plug_ins: bool = False) -> dict[str, Any]:
    """The configuration of a checkpoint, with the number of its agents."""
    keys = notation.load(checkpoint.facts.config, "its configuration")
    if not isinstance(keys, dict):
        raise ResultsError(f"the checkpoint {str(checkpoint.path)!r} has no configuration")
    refuse_plug_ins(checkpoint.path, keys, plug_ins)
    return keys | {"agents": checkpoint.facts.agents}


def _models(run: ComposedRun, checkpoint: Checkpoint, name: str) -> Iterator[KeptModel]:
    """A model that all hold, or agent by agent their own."""
    form, own = run.models.form, name == OWN
    for number, found in enumerate(run.models.rows(name)):
        rows = {kind: np.array(row) for kind, row in found.items()} | {CONSTANTS: form.constants}
        agent = number if own else None
        yield KeptModel(Path(checkpoint.path), name, agent, checkpoint.facts.round, form.network, rows)
