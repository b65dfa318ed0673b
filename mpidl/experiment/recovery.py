"""Going on with a run whose ranks have died: from where, without which agents, and what is told of it."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mpidl.comm.agreement import of_first
from mpidl.errors import ResultsError
from mpidl.experiment.resume import Resumption, checkpoints, load_all, newest
from mpidl.results.checkpoints import reader
from mpidl.results.checkpoints.folder import CheckpointFolder
from mpidl.results.checkpoints.reader import Checkpoint
from mpidl.sentences import numbered
from mpidl.spoken import counted
from mpidl.training.buddies import deal, restore

if TYPE_CHECKING:
    from mpidl.comm.outliving import Deaths
    from mpidl.comm.world import Communicator
    from mpidl.experiment.compose import ComposedRun
    from mpidl.results.run_file import RunFile
    from mpidl.training.buddies import Memory

log = logging.getLogger("mpidl")


def go_back(run: ComposedRun, output: Path, deaths: Deaths, memory: Memory | None) -> Resumption:
    """To the copies in memory, if those that are left hold them whole, or to a newer checkpoint.

    To the beginning where there is neither. A collective call.
    """
    folder, how = CheckpointFolder(output), ""
    kept, lost = (None, None) if memory is None else memory.look(run.world)
    rounds = [round for round in checkpoints(run, folder) if kept is None or round > kept.round]
    checkpoint, damages = newest(run, folder, rounds, needed=kept is None)
    if checkpoint is not None:
        load_all(run, checkpoint)
    elif kept is not None:
        deal(run.world, run.state, kept.parts)
        run.training.done, run.training.before = kept.round, kept.seconds
        how = ", of which they had copies in memory"
    round, size = run.training.done, run.world.size
    if lost is not None and lost > round:
        how = f", since copies of round {lost} in memory died with those who kept them"
    text = (
        f"{deaths.who} died after round {deaths.done}; {counted(size, 'rank')} went on from round {round}{how}"
        f"{_redone(deaths, round)}"
    )
    return Resumption(round, (*(("warning", damage) for damage in damages), ("failure", text)))


def go_without(run: ComposedRun, output: Path, deaths: Deaths, memory: Memory | None) -> Resumption:
    """Without the agents of those that died, to the newest copies that all others have of their own.

    To the beginning where there are none. A collective call.
    """
    kept, _ = (None, None) if memory is None else memory.look(run.world, alone=True)
    if kept is not None:
        restore(run.state, kept.parts)
        run.training.done, run.training.before = kept.round, kept.seconds
    round, world = run.training.done, run.world
    if world.rank == 0:
        # Those of later rounds are of another run, in which nobody has died.
        folder = CheckpointFolder(output)
        folder.keep([each for each in folder.rounds() if each <= round])
    mixing = None if run.topology is None else run.topology.at(round)
    graph = "" if mixing is None else f", who send {counted(mixing.messages, 'row')} in a round"
    text = (
        f"{deaths.who} died after round {deaths.done}; {counted(world.size, 'rank')} went on from round {round} with "
        f"{len(world.everyone)} of {world.agents} agents{graph}, without "
        f"{numbered('agent', world.placement.gone)}{_redone(deaths, round)}"
    )
    return Resumption(round, (("failure", text),))


def _redone(deaths: Deaths, round: int) -> str:
    """How many rounds are done again, as the end of a sentence; nothing where none is."""
    again = deaths.done - round
    return f", so that {counted(again, 'round')} {'is' if again == 1 else 'are'} done again" if again > 0 else ""


def left_out(comm: Communicator, output: Path) -> tuple[int, ...]:
    """The agents that the checkpoint is without from which the run will go on. A collective call."""
    told = of_first(comm, json.dumps(_gone(CheckpointFolder(output))) if comm.rank == 0 else "")
    return tuple(json.loads(told))


def _gone(folder: CheckpointFolder) -> tuple[int, ...]:
    """Of the newest checkpoint; where they differ in that, of the newest that is whole."""
    found = list[Checkpoint]()
    for round in folder.rounds():
        # What is damaged is named when the run is resumed.
        with suppress(ResultsError):
            found.append(reader.open(folder.of_round(round)))
    differ = len({each.facts.gone for each in found}) > 1
    for each in found:
        if not differ or not any(map(each.damaged, range(len(each.files)))):
            return each.facts.gone
    return ()


def tell_of_deaths(run_file: RunFile, deaths: Deaths, resumed: Resumption) -> None:
    """What became of a run whose ranks have died, once it goes on."""
    for kind, text in resumed.events:
        words = f"{text}; that took {deaths.seconds:.2f} s" if kind == "failure" else text
        run_file.event(kind, words, resumed.round)
        log.warning("%s", words)
