"""What each rank of `mpidl run` does: start MPI, compose the run, train, write the run file."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mpidl.comm.agreement import agree
from mpidl.comm.start import sentinel, startup
from mpidl.errors import SaveError
from mpidl.experiment.compose import ComposedRun, compose
from mpidl.experiment.keeping import keepers
from mpidl.experiment.schema import Config
from mpidl.results import provenance
from mpidl.results.run_file import RunFile
from mpidl.training.progress import make_progress
from mpidl.training.record import FileWriter

if TYPE_CHECKING:
    from mpidl.comm.world import Communicator

log = logging.getLogger("mpidl")


def main(config: Config, output: Path, overwrite: bool = False, verbose: bool = False) -> None:
    """A whole run, as one rank of it."""
    comm = startup.start(config.train.device, config.train.threads)
    if verbose and comm.rank == 0:
        log.addHandler(logging.StreamHandler())
        log.setLevel(logging.INFO)
    train(config, comm, output, overwrite)


def train(config: Config, comm: Communicator, output: Path, overwrite: bool = False) -> None:
    """Compose and train; rank 0 speaks and writes."""
    run = compose(config, comm, output.parent)
    agree(comm, {"the run file": str(output)}, "name one with -o for all ranks")
    world, hooks, run_file = run.world, run.training.hooks, None
    if world.rank == 0:
        for warning in run.warnings:
            log.warning("%s", warning)
    run.training.check()
    # All ranks have checked before there is a file, so that a wrong model leaves none.
    world.barrier()
    if world.rank == 0:
        print(world.table(), file=sys.stderr, flush=True)
        for name, transport in run.transports.items():
            log.info("%s travel by: %s", name, transport)
        run_file = create_run_file(run, output, overwrite)
        forecast = run.forecast
        print(forecast.sentence, file=sys.stderr, flush=True)
        if forecast.warning:
            log.warning("%s", forecast.warning)
        for warning in filter(None, (*run.warnings, forecast.warning)):
            run_file.event("warning", warning)
    # And all wait for it, so that none has trained when it cannot be made.
    world.barrier()
    writer = FileWriter(run_file, run.meters)
    hooks.append(writer)
    if run_file is not None:
        # After the writer: what is not in the file yet is not told.
        hooks.append(make_progress(run.forecast.longest))
    kept = keepers(run, run_file)
    hooks += kept
    with sentinel.before_ending(writer.save_at_once):
        run.training.run()
    unsaved = next(filter(None, [writer.unsaved, *(each.unsaved for each in kept)]), None)
    sentence = world.bcast_text(str(unsaved or ""))
    run.close()
    if sentence:
        # On all ranks, so that none waits for another; every round is done by now.
        raise unsaved or SaveError(sentence)
    if world.rank == 0:
        print(f"results in {output}", file=sys.stderr, flush=True)


def create_run_file(run: ComposedRun, output: Path, overwrite: bool) -> RunFile:
    """The run file with everything that is known before training."""
    config, world = run.config, run.world
    facts = provenance.gather(hosts=world.hosts, gpus=world.devices, mpi_library=startup.library())
    facts["transport"] = "; ".join(f"{name}: {transport}" for name, transport in run.transports.items())
    keys, metrics = config.model_dump(mode="json"), run.training.algorithm.metrics
    return RunFile.create(output, keys, facts, _graph(run), world.agents, overwrite=overwrite, metrics=metrics)


def _graph(run: ComposedRun) -> dict[str, object] | None:
    """The mixing matrix of the first round, as lists of edges."""
    if run.topology is None or run.config.graph is None:
        return None
    mixing = run.topology.at(0)
    receivers, senders, weights = mixing.entries
    return {
        "name": run.config.graph.name,
        "edges": list(zip(senders.tolist(), receivers.tolist(), strict=True)),
        "weights": weights.tolist(),
        "self_weights": list(mixing.self_weights),
        "period": run.topology.period or 0,
    }
