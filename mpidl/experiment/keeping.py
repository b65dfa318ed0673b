"""What a run keeps: which models, in its file, and of how many bytes they are; mirrors of its records; its state."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from mpidl import results
from mpidl.experiment.schema import Config
from mpidl.layout import Network
from mpidl.results import provenance
from mpidl.results.checkpoints.folder import CheckpointFolder
from mpidl.results.checkpoints.index import Facts
from mpidl.results.layout import as_text
from mpidl.results.metrics import MODELS
from mpidl.training.evaluate import OWN
from mpidl.training.mirrors import Mirrored

if TYPE_CHECKING:
    from mpidl.experiment.compose import ComposedRun
    from mpidl.experiment.inputs import Inputs
    from mpidl.results.run_file import RunFile
    from mpidl.training.buddies import Memory, OwnCopies
    from mpidl.training.checkpoints import Checkpoints
    from mpidl.training.loop import Hook, Training
    from mpidl.training.mirroring import Mirroring
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


def mirrors_of(run: ComposedRun, output: Path, after: int | None) -> list[Mirroring]:
    """The hooks that copy records, on rank 0, whose run file is there; `after` the round that the run goes on from."""
    config = run.config
    if run.world.rank or not config.train.log:
        return []
    # Not before there are ranks, either.
    from mpidl.training.mirroring import Mirroring

    # What the run file has told since the run began, however often it was resumed.
    before = results.open(output).provenance
    identity = " ".join(str(part) for part in (output.name, before.get("started"), *before.get("hosts", ())))
    mirrored = Mirrored(output, config.model_dump(mode="json"), identity, after)
    return [Mirroring(name, mirrored) for name in config.train.log]


def copies_of(run: ComposedRun, memory: Memory | None) -> list[OwnCopies]:
    """The hook that has ranks keep copies of their state, and of each other's, where that is wished and of use."""
    from mpidl.training.buddies import Buddies, OwnCopies, useless

    wished, dropping = run.config.checkpoint.memory, run.config.failures.dropping
    if (wished is None and not dropping) or memory is None or useless(run.world):
        return []
    every = 1 if wished is None else run.length.every(wished)
    return [(OwnCopies if dropping else Buddies)(memory, every, run.state, run.world, run.meters)]


def checkpoints_of(run: ComposedRun, output: Path) -> tuple[list[Hook], Checkpoints]:
    """The hook that saves the state of the run, and stops it when it is asked to; and those that it needs before it."""
    from mpidl.comm.start import presence, stopping
    from mpidl.training.checkpoint_writer import CheckpointWriter
    from mpidl.training.checkpoints import Checkpoints, Wishes
    from mpidl.training.snapshots import MetricByRound

    config, world = run.config, run.world
    settings, walltime = config.checkpoint, config.train.walltime
    # What is in a file since memory does not hold it is not copied into memory.
    copied = config.train.state_memory is None
    about = (run.state, world, CheckpointFolder(output), output, settings.keep, copied)
    judges: list[Hook] = []
    if settings.best is None:
        writer = CheckpointWriter(*about)
    else:
        values = MetricByRound(settings.best, {} if world.rank else results.open(output).by_round(settings.best))
        judges, writer = [values], CheckpointWriter(*about, best_of=values.best_of)
    wishes = Wishes(
        every=None if settings.every is None else run.length.every(settings.every),
        stop=stopping.asked,
        seconds_left=lambda: math.inf if walltime is None else walltime - presence.age(),
    )
    text = as_text(config.model_dump(mode="json"))

    def facts(training: Training) -> Facts:
        progress = (training.done, training.rounds, training.seconds)
        versions, gone = {**provenance.versions(), **run.plug_ins}, world.placement.gone
        return Facts(*progress, world.agents, text, versions, run.data, gone)

    return judges, Checkpoints(writer, wishes, facts, world, run.meters)
