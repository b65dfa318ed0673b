"""What each rank of a sweep does: start MPI once, and then one run after another, none of which leaves a trace.

A run that diverges, or is asked to stop, ends on all ranks together, and is closed. Whatever else ends one leaves ranks
that wait for each other in an unknown state: it ends all ranks, as it does those of `mpidl run`, and the process that
has started them starts others for the runs that are left.
"""

from __future__ import annotations

import logging
import math
import signal
from dataclasses import replace

from mpidl.comm.agreement import largest
from mpidl.comm.once import load_once
from mpidl.comm.start import startup, stopping
from mpidl.comm.world import Communicator, World
from mpidl.errors import Diverged, ExitCode, Stopped
from mpidl.experiment.compose import compose
from mpidl.experiment.rank import Beginning, carry_out
from mpidl.experiment.sweep.data import LastDataset
from mpidl.experiment.sweep.handed import Handed
from mpidl.experiment.sweep.member import Report, Standing
from mpidl.experiment.sweep.members import check_inputs
from mpidl.experiment.sweep.traces import Traces
from mpidl.results.metrics import WHOLE_RUN
from mpidl.training.loop import Hook, Record, Training

log = logging.getLogger("mpidl")


def main(handed: Handed) -> None:
    """All runs that fall to this launch, as one rank of it."""
    # The same for all of them.
    train, number = handed.base["train"], signal.Signals[f"SIG{handed.base['checkpoint']['signal']}"]
    stopping.listen(number)
    log.addFilter(Once())
    walk(handed, startup.start(train["device"], train["threads"], handed.before))


def walk(handed: Handed, comm: Communicator) -> None:
    """One run after another, until none is left or this launch is asked to stop. A collective call."""
    world = World(comm, comm.size)
    data, traces = LastDataset(lambda source, held: load_once(world, source.load, held)), Traces()
    for _ in check_inputs(map(handed.member, range(len(handed.runs))), data):
        # What is wrong with one of them is known before any is begun, on all ranks alike.
        pass
    traces.remove()
    taken = handed.taken() if comm.rank == 0 else iter(())
    while True:
        # All ranks hear of the same run, and of a wish that one of them has heard.
        stop, place = largest(comm, [int(stopping.asked()), next(taken, -1)])
        if place < 0:
            world.close()
            return
        if stop:
            world.close()
            raise Stopped("stopped between two runs; the same command goes on from there")
        _run(handed, place, comm, data)
        traces.remove()


def _run(handed: Handed, place: int, comm: Communicator, data: LastDataset) -> None:
    """One run to its end; raises what ends all of them."""
    told = Telling(handed.number(place))

    def tell(standing: Standing, sentence: str = "", code: int = ExitCode.DONE) -> None:
        if comm.rank == 0:
            replace(told.last, standing=standing, sentence=sentence, code=int(code)).send()

    tell(Standing.RUNNING)
    member = handed.member(place)
    beginning = Beginning(resume=member.standing is Standing.HALF, allowed=None)
    try:
        run = compose(member.config, comm, member.output.parent, data.of(member.config.data))
        carry_out(run, member.output, beginning, say=lambda sentence: None, make_progress=lambda evaluation: told)
    except Diverged as error:
        tell(Standing.DIVERGED, str(error), error.exit_code)
    except Stopped as error:
        sentence = str(error).partition(";")[0]
        tell(Standing.STOPPED, sentence, error.exit_code)
        raise Stopped(f"{sentence} ({member.label}); the same command goes on from there") from error
    else:
        tell(Standing.FINISHED)


class Telling(Hook):
    """Reports how a run goes, once what is told is in its file."""

    def __init__(self, number: int) -> None:
        self.last = Report(number, Standing.RUNNING)
        """The newest report."""
        self._newest: Record | None = None

    def recorded(self, training: Training, record: Record) -> None:
        self._newest = record

    def flushed(self, training: Training) -> None:
        if self._look(training):
            self.last.send()

    def finish(self, training: Training, status: str) -> None:
        self._look(training)

    def _look(self, training: Training) -> bool:
        """Takes over what the newest record tells; whether there is one."""
        record, self._newest = self._newest, None
        if record is None:
            return False
        self.last = replace(
            self.last,
            round=int(record["round"]),
            rounds=training.rounds,
            accuracy=_of_model(record, "test_accuracy"),
            loss=_of_model(record, "test_loss"),
            seconds=float(record["seconds"]),
        )
        return True


def _of_model(record: Record, quantity: str) -> float:
    """The quantity of the model that stands for the whole run."""
    return next((float(record[name]) for model in WHOLE_RUN if (name := f"{quantity}_{model}") in record), math.nan)


class Once(logging.Filter):
    """Lets a message through once: the runs of a sweep have much in common, and so have warnings of them."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in self._seen
        self._seen.add(text)
        return new
