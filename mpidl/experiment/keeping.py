"""Which models a run keeps in its file, and of how many bytes they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.experiment.schema import Config
from mpidl.layout import Network
from mpidl.results.metrics import MODELS
from mpidl.training.evaluate import OWN

if TYPE_CHECKING:
    from mpidl.experiment.compose import ComposedRun
    from mpidl.experiment.inputs import Inputs
    from mpidl.results.run_file import RunFile
    from mpidl.training.snapshots import Keeper

ALWAYS = ("consensus", "server")
"""Kept whether they are evaluated or not."""

OWN_BYTES = 256 * 2**20
"""What all agents' own models together may take where nobody has asked for them."""


def kept_models(config: Config, agents: int, network: Network) -> dict[str, int | None]:
    """The models that are kept after the last round, and before; agents' own with the number of agents."""
    wished, evaluated = config.checkpoint, config.evaluate.models or config.method.models
    if wished.snapshots is None and not wished.final:
        return {}
    kept: dict[str, int | None] = {}
    for name in config.method.models:
        if name != OWN and (name in evaluated or name in ALWAYS):
            kept[name] = None
        elif name == OWN:
            few = agents * network.nbytes <= OWN_BYTES
            asked = name in evaluated if wished.snapshots else few
            if wished.final == "all" or asked:
                kept[name] = agents
    return kept


def best_models(config: Config, agents: int) -> dict[str, int | None]:
    """The model that the chosen metric is of, and the one that the method is judged by."""
    metric = config.checkpoint.best
    if metric is None:
        return {}
    measured = metric.rpartition("_")[2]
    kept: dict[str, int | None] = {name: None for name in config.method.models if name in ALWAYS}
    return kept | ({measured: agents if measured == OWN else None} if measured in MODELS else {})


def kept_bytes(inputs: Inputs, network: Network) -> int:
    """Bytes of all models that a run has in its file at its end, apart from what they have in common."""
    config, agents, length = inputs.config, inputs.agents, inputs.length
    often = config.checkpoint.snapshots
    times = 1 if often is None else -(-length.rounds // length.every(often))
    # There is room for the best so far and for a better one.
    kept = ((times, kept_models(config, agents, network)), (2, best_models(config, agents)))
    return sum(count * network.nbytes * (own or 1) for count, models in kept for own in models.values())


def keepers(run: ComposedRun, run_file: RunFile | None) -> list[Keeper]:
    """The hooks that keep models, where the configuration asks for any."""
    # Not before there are ranks: they know MPI, and bytes are told without it.
    from mpidl.training.snapshots import BestModels, Snapshots

    config, rows = run.config, run.models
    network, agents = rows.form.network, run.world.agents
    hooks: list[Keeper] = []
    snapshots, best = config.checkpoint.snapshots, config.checkpoint.best
    kept = kept_models(config, agents, network)
    if kept:
        every = None if snapshots is None else run.length.every(snapshots)
        hooks.append(Snapshots(run_file, rows, kept, run.meters, every))
    if best is not None:
        hooks.append(BestModels(run_file, rows, best_models(config, agents), run.meters, best))
    return hooks
