"""Run files of small networks on digits, whose models nobody trained: each agent's lies somewhere around a centre."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mpidl.experiment import Config
from mpidl.layout import PARAMETERS, Network
from mpidl.models import MODELS
from mpidl.models.initial import initial_module
from mpidl.parameters import RowModule
from mpidl.results.run_file import RunFile
from mpidl.results.snapshots import SNAPSHOTS, Form, Models
from mpidl.seeding import stream

CONFIG: dict[str, Any] = {
    "seed": 3,
    "agents": 4,
    "model": {"name": "mlp", "hidden": [4]},
    "data": {"name": "digits"},
    "algorithm": {"name": "dsgd", "rho": 0.1},
    "graph": "ring",
    "train": {"rounds": 20, "device": "cpu"},
}


def kept_run(path: Path, rounds: tuple[int, ...] = (10, 20), own: bool = True, **sections: Any) -> Path:
    """A finished run that keeps the models of these rounds."""
    config = Config.model_validate(CONFIG | sections)
    rows, form = rows_of(config), form_of(config, own)
    agents = config.agents_on(1)
    file = RunFile.create(path, config.model_dump(mode="json"), {}, None, agents)
    for round in rounds:
        file.append({"round": round})
        drawn = stream(config.seed, "kept", index=round).standard_normal((agents, rows.size)).astype(np.float32)
        block = rows.flatten() + 0.1 * torch.from_numpy(drawn)
        found = {"consensus": [block.mean(0)], "local": list(block)}
        by_name = {name: [{PARAMETERS: row.numpy()} for row in found[name]] for name in form.models}
        file.keep(SNAPSHOTS, form, Models(round, by_name), len(rounds))
    file.finish()
    return path


def form_of(config: Config, own: bool = True) -> Form:
    """Of the models of such a run."""
    dataset, rows = config.data.load(), rows_of(config)
    network = Network(rows.entries, dataset.example_shape, dataset.outputs)
    models = {"consensus": None} | ({"local": config.agents_on(1)} if own else {})
    return Form(network, rows.constants().numpy(), models)


def rows_of(config: Config) -> RowModule:
    """The network as it was first."""
    dataset, model = config.data.load(), MODELS.parse(config.model.model_dump())
    return RowModule(initial_module(model, dataset.example_shape, dataset.outputs, config.seed))
