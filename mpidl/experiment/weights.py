"""Weights that agents start from, out of the file that `model.init` names."""

from __future__ import annotations

import torch

from mpidl.errors import ConfigError, ResultsError
from mpidl.models import initial
from mpidl.models.initial import Weights
from mpidl.results import snapshots
from mpidl.results.layout import is_run_file


def initial_weights(path: str | None) -> Weights | None:
    """From a state_dict that torch.save wrote, or the newest model that another run has kept in its file."""
    if path is None:
        return None
    file = initial.expanded(path)
    if not is_run_file(file):
        return initial.read(path)
    try:
        found = snapshots.latest(file)
    except ResultsError as error:
        raise ConfigError(str(error), "model.init") from error
    return Weights(path, {name: torch.from_numpy(value) for name, value in found.items()}, trained_only=True)
