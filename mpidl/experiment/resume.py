"""Going on with a run from its newest checkpoint that is whole: which one, whether it fits, and its state."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mpidl import results
from mpidl.errors import ConfigError, ResultsError
from mpidl.experiment.changes import compare, compare_data, compare_rates, facts_of, other_versions
from mpidl.experiment.schema import Config
from mpidl.results import provenance
from mpidl.results.checkpoints import reader
from mpidl.results.checkpoints.folder import CheckpointFolder
from mpidl.results.checkpoints.index import Facts
from mpidl.results.checkpoints.reader import Checkpoint
from mpidl.sentences import numbered
from mpidl.spoken import counted, duration

if TYPE_CHECKING:
    from mpidl.experiment.compose import ComposedRun
    from mpidl.state import State

log = logging.getLogger("mpidl")


@dataclass(frozen=True)
class Resumption:
    """From where a run goes on, and what is to be told of it."""

    round: int
    events: tuple[tuple[str, str], ...] = ()
    """Kinds and texts."""
    over: bool = False
    """Whether the run has come to its end already."""

    @property
    def keeps(self) -> int:
        """The last round whose records stay; none does where a run begins again."""
        return self.round or -1


@dataclass(frozen=True)
class Known:
    """Of a run what its data show: how long it is, and what tells them from others."""

    rounds: int
    data: Mapping[str, str]


def check(config: Config, agents: int, output: Path, allowed: Sequence[str], known: Known | None = None) -> None:
    """Refuses what can be seen before MPI starts: another configuration than that of the newest checkpoint.

    With the data, all that `resume` refuses but for damage within files of a checkpoint.
    """
    folder, damages = CheckpointFolder(output), list[str]()
    rounds = folder.rounds()
    if known is not None:
        _over(config, agents, output, _status(output), bool(rounds), allowed, known.rounds)
    for round in rounds:
        try:
            checkpoint = reader.open(folder.of_round(round))
        except ResultsError as error:
            # The ranks will name it, and try the one before.
            damages.append(str(error))
            continue
        _compare(config, agents, checkpoint.facts, allowed, known)
        return
    if known is not None and damages:
        raise _none_whole(folder, damages)


def _compare(
    config: Config, agents: int, facts: Facts, allowed: Sequence[str] | None, known: Known | None
) -> list[str]:
    """What has changed since the checkpoint, in words; ConfigError where something has that makes it another run."""
    changes = compare(config, agents, facts, allowed, None if known is None else known.rounds)
    if known is None:
        return changes
    compare_rates(config, facts, allowed, known.rounds)
    return changes + compare_data(known.data, facts, allowed)


def _over(
    config: Config, agents: int, output: Path, status: str, kept: bool, allowed: Sequence[str] | None, rounds: int
) -> Resumption | None:
    """The end of a run that has come to it; `kept`: whether there are checkpoints, without which none goes on."""
    # Of a run without a checkpoint the file alone tells what it was: begun again as another one, it would be lost.
    if status == "finished" or status and not kept:
        facts = facts_of(results.open(output))
        compare(config, agents, facts, allowed, rounds)
        if status == "finished" and facts.round >= rounds:
            return Resumption(facts.round, over=True)
        if status == "finished" and not kept:
            raise ConfigError(
                f"the run in {str(output)!r} has ended after round {facts.round} and left no checkpoint to go on from; "
                "with checkpoint.every it would have"
            )
    return None


def _none_whole(folder: CheckpointFolder, damages: Sequence[str]) -> ResultsError:
    return ResultsError(
        f"no checkpoint in {str(folder.path)!r} is whole: {damages[0]}; it starts afresh without them and the run file"
    )


def resume(run: ComposedRun, output: Path, allowed: Sequence[str] | None) -> Resumption | None:
    """Loads the state of the newest checkpoint that is whole; None where there is none yet. A collective call."""
    world, folder = run.world, CheckpointFolder(output)
    rounds = checkpoints(run, folder)
    status = world.bcast_text(_status(output) if world.rank == 0 else "")
    known = Known(run.length.rounds, run.data)
    over = _over(run.config, world.agents, output, status, bool(rounds), allowed, known.rounds)
    if over is not None:
        return over
    checkpoint, damages = newest(run, folder, rounds)
    if checkpoint is None:
        return None
    if checkpoint.facts.gone != world.placement.gone:
        gone = checkpoint.facts.gone
        there = f"is without {numbered('agent', gone)}" if gone else "has all agents"
        raise ResultsError(
            f"the checkpoint {str(checkpoint.path)!r} {there}, unlike this run; mpidl run --resume goes on from it"
        )
    changes = _compare(run.config, world.agents, checkpoint.facts, allowed, known)
    load_all(run, checkpoint)
    return Resumption(checkpoint.facts.round, tuple(_told(run, output, checkpoint, damages, changes)))


def checkpoints(run: ComposedRun, folder: CheckpointFolder) -> list[int]:
    """The rounds of those that there are, the newest first, as rank 0 sees them. A collective call."""
    rounds = run.world.bcast_text(json.dumps(folder.rounds()) if run.world.rank == 0 else "")
    return [int(round) for round in json.loads(rounds)]


def newest(
    run: ComposedRun, folder: CheckpointFolder, rounds: Sequence[int], needed: bool = True
) -> tuple[Checkpoint | None, list[str]]:
    """Of these checkpoints the newest that is whole, and what is wrong with newer ones; none where there are none.

    ResultsError if one is `needed`, and all are damaged. A collective call.
    """
    world, damages = run.world, list[str]()
    for round in rounds:
        place = folder.of_round(round)
        damage = world.bcast_text(_damage_of_index(place) if world.rank == 0 else "")
        if not damage:
            checkpoint = reader.open(place)
            damage = _damage_of_files(run, checkpoint)
        if not damage:
            return checkpoint, damages
        if world.rank == 0:
            log.warning("%s; the checkpoint before is tried", damage)
        damages.append(damage)
    if damages and needed:
        raise _none_whole(folder, damages)
    return None, damages


def load_all(run: ComposedRun, checkpoint: Checkpoint) -> None:
    """Takes the state that belongs on this rank, and has the run go on from there."""
    load(run.state, checkpoint)
    run.training.done, run.training.before = checkpoint.facts.round, checkpoint.facts.seconds


def _status(output: Path) -> str:
    """That of the run file; empty where there is none with records."""
    if not output.exists():
        return ""
    run = results.open(output)
    return run.status if run.records else ""


def _damage_of_index(place: Path) -> str:
    try:
        reader.open(place)
    except ResultsError as error:
        return str(error)
    return ""


def _damage_of_files(run: ComposedRun, checkpoint: Checkpoint) -> str:
    """What is wrong with the first file that is damaged. A collective call: each rank reads its share of the files."""
    world, count = run.world, len(checkpoint.files)
    damaged = np.zeros(count, dtype=np.int64)
    for number in range(world.rank, count, world.size):
        damaged[number] = checkpoint.damaged(number) is not None
    bad = np.flatnonzero(world.sum(damaged))
    if not len(bad):
        return ""
    name = checkpoint.files[int(bad[0])].name
    words = checkpoint.damaged(int(bad[0])) or f"{name} cannot be read by rank {bad[0] % world.size}"
    return world.bcast_text(f"the checkpoint {str(checkpoint.path)!r} is damaged: {words}")


def load(state: State, checkpoint: Checkpoint) -> None:
    """Takes from a checkpoint what belongs on this rank; ResultsError unless that is all that is declared here."""
    for name in [*state.declarations, *checkpoint.states]:
        declared, saved = state.declarations.get(name), checkpoint.states.get(name)
        same = (
            declared is not None
            and saved is not None
            and (declared.kind, declared.shape, declared.dtype, declared.total, declared.lazy, declared.edges)
            == (saved.kind, saved.shape, saved.dtype, saved.total, saved.lazy, saved.edges)
        )
        if not same:
            where = "no" if saved is None else "no use for its" if declared is None else "another"
            raise ResultsError(f"the checkpoint {str(checkpoint.path)!r} does not fit this run: {where} state {name!r}")
    for name in state.declarations:
        loaded: list[int] = []
        for number in range(len(checkpoint.files)):
            wanted = state.wanted(name, checkpoint.ids(name, number).tolist())
            for ids, values in checkpoint.read(name, number, wanted):
                state.load(name, ids, values)
                loaded += ids
        if not state.complete(name, loaded):
            raise ResultsError(f"the checkpoint {str(checkpoint.path)!r} does not hold every item of {name!r} once")


def _told(
    run: ComposedRun, output: Path, checkpoint: Checkpoint, damages: Sequence[str], changes: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Kinds and texts of events, on rank 0."""
    if run.world.rank:
        return
    facts, before = checkpoint.facts, results.open(output)
    for damage in damages:
        yield "warning", damage
    redone, seconds = 0, 0.0
    if before.records:
        redone = max(0, int(before.metrics["round"][-1]) - facts.round)
        seconds = max(0.0, float(before.metrics["seconds"][-1]) - facts.seconds)
    job = provenance.job_id()
    again = "no recorded round is lost"
    if redone:
        again = f"{counted(redone, 'recorded round')} ({duration(seconds)}) {'is' if redone == 1 else 'are'} done again"
    ranks = f"{counted(run.world.size, 'rank')} ({len(checkpoint.files)} before)"
    gone = f", without {numbered('agent', facts.gone)}" if facts.gone else ""
    where = f"{ranks}{job and f' in {job}'}"
    yield "resume", f"resumed after round {facts.round} on {where}{gone}; {again}"
    if changes:
        yield "resume", f"with a changed configuration: {'; '.join(changes)}"
    for name, then, now in other_versions(facts.versions, run.plug_ins):
        text = f"{name} was {then} when the run began, and is {now}: numbers may differ"
        log.warning("%s", text)
        yield "warning", text
