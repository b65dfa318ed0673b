"""Going on with a run whose ranks have died: from where, and what is told of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from mpidl.experiment.resume import Resumption, checkpoints, load_all, newest
from mpidl.results.checkpoints.folder import CheckpointFolder
from mpidl.spoken import counted
from mpidl.training.buddies import deal

if TYPE_CHECKING:
    from mpidl.comm.outliving import Deaths
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
    again = deaths.done - round
    text = (
        f"{deaths.who} died after round {deaths.done}; {counted(size, 'rank')} went on from round {round}{how}, so "
        f"that {counted(again, 'round')} {'is' if again == 1 else 'are'} done again"
    )
    return Resumption(round, (*(("warning", damage) for damage in damages), ("failure", text)))


def tell_of_deaths(run_file: RunFile, deaths: Deaths, resumed: Resumption) -> None:
    """What became of a run whose ranks have died, once it goes on."""
    for kind, text in resumed.events:
        words = f"{text}; that took {deaths.seconds:.2f} s" if kind == "failure" else text
        run_file.event(kind, words, resumed.round)
        log.warning("%s", words)
