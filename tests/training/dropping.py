"""Runs that go on without some of their agents, and what they are compared with.

    python -m tests.training.dropping config.yaml ROUNDS '[[ROUND, [AGENT, …]], …]' OUT.npz

trains in one process for so many rounds, from each of these rounds on without these agents, and writes what it records,
and the mean of all models.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpidl.comm.placement import Placement


def save(composed: Any, path: Path, done: int) -> None:
    """Trains until so many rounds are done, and leaves a checkpoint beside this run file. Closes the run."""
    from mpidl.results.checkpoints.folder import CheckpointFolder
    from mpidl.results.checkpoints.index import Facts
    from mpidl.training.checkpoint_writer import CheckpointWriter

    training, world = composed.training, composed.world
    for hook in training.hooks:
        hook.start(training)
    while training.done < done:
        training.run_round()
    training.settle()
    path.touch()
    writer = CheckpointWriter(composed.state, world, CheckpointFolder(path), path, keep=2)
    facts = Facts(done, training.rounds, 1.0, world.agents, "{}", {}, {}, world.placement.gone)
    writer.begin(facts, apart=False)
    writer.conclude()
    assert writer.unsaved is None
    composed.close()


def load_without(composed: Any, path: Path, done: int, anew: Sequence[str]) -> None:
    """Takes the agents that are there from a checkpoint of more; states of these names begin anew."""
    from mpidl.results.checkpoints import reader
    from mpidl.results.checkpoints.folder import CheckpointFolder

    composed.world.barrier()
    state, checkpoint = composed.state, reader.open(CheckpointFolder(path).of_round(done))
    assert set(anew) == state.renewed
    for name in set(state.declarations) - set(anew):
        for number in range(len(checkpoint.files)):
            for ids, values in checkpoint.read(name, number, state.wanted(name, checkpoint.ids(name, number).tolist())):
                state.load(name, ids, values)
    composed.training.done = done


def trained(config: Any, comm: Any, losses: Sequence[tuple[int, Sequence[int]]]) -> dict[str, np.ndarray]:
    """What is recorded from the last loss on, and the mean of all models, where agents are gone from such rounds on."""
    from mpidl.experiment.compose import compose
    from tests.algorithms.problems import run

    agents, gone, before = config.agents_on(comm.size), (), 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.h5"

        def go_on(composed: Any) -> None:
            if before:
                load_without(composed, path, before, composed.state.renewed)

        for done, lost in losses:
            composed = compose(config, comm, placement=Placement.contiguous(agents, 1, gone))
            go_on(composed)
            save(composed, path, done)
            gone, before = tuple(sorted({*gone, *lost})), done
        models: dict[str, np.ndarray] = {}
        outcome = run(config, comm, go_on, models, Placement.contiguous(agents, 1, gone))
    names = {name for record in outcome.records for name in record}
    nothing = np.full(agents, np.nan)
    records = {
        name: np.array([record.get(name, nothing if name.endswith("_local") else np.nan) for record in outcome.records])
        for name in names
    }
    return records | {"model": models.get("consensus", models.get("server"))}


def main(path: str, rounds: str, losses: str, out: str) -> None:
    from mpidl import experiment
    from mpidl.comm.start import startup

    config = experiment.load(Path(path), [f"train.rounds={rounds}"])
    np.savez(out, **trained(config, startup.start("cpu", 1), json.loads(losses)))


if __name__ == "__main__":
    main(*sys.argv[1:])
