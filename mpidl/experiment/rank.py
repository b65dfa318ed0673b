"""What each rank of `mpidl run` does: start MPI, compose the run, train, write the run file."""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpidl.comm import survivors
from mpidl.comm.agreement import agree
from mpidl.comm.outliving import Deaths, Progress, outlive
from mpidl.comm.placement import Placement
from mpidl.comm.start import presence, sentinel, startup, stopping
from mpidl.data.dataset import Dataset
from mpidl.errors import Diverged, SaveError, Stopped
from mpidl.experiment.compose import ComposedRun, compose
from mpidl.experiment.keeping import checkpoints_of, copies_of, keepers, mirrors_of
from mpidl.experiment.requirements import require_outliving
from mpidl.experiment.schema import Config
from mpidl.results import provenance
from mpidl.results.checkpoints.folder import CheckpointFolder
from mpidl.results.run_file import RunFile
from mpidl.spoken import counted
from mpidl.training import mirrors
from mpidl.training.buddies import Memory
from mpidl.training.progress import make_progress, voice
from mpidl.training.record import FileWriter

if TYPE_CHECKING:
    from mpidl.comm.world import Communicator
    from mpidl.experiment.resume import Resumption
    from mpidl.training.loop import Hook

log = logging.getLogger("mpidl")


@dataclass(frozen=True)
class Beginning:
    """Whether a run replaces the one whose file is there, or goes on with it, `allowed` keys having been changed.

    None: where nobody can be asked for leave.
    """

    overwrite: bool = False
    resume: bool = False
    allowed: tuple[str, ...] | None = ()

    def agree(self, comm: Communicator) -> None:
        """Raises on every rank unless all were told the same: what they do first depends on it. A collective call."""
        said = {"--overwrite": self.overwrite, "--resume": self.resume}
        facts = {option: "said" if this else "not said" for option, this in said.items()}
        facts["--allow-changes"] = " ".join(sorted(self.allowed or ())) or "not said"
        agree(comm, facts, "start all ranks alike")


def main(config: Config, output: Path, beginning: Beginning, verbose: bool = False) -> None:
    """A whole run, as one rank of it."""
    stopping.listen(signal.Signals[f"SIG{config.checkpoint.signal}"])
    comm = startup.start(config.train.device, config.train.threads)
    train(config, comm, output, beginning, verbose)


class _Spoken(logging.Handler):
    """Has what is logged told among the lines of the run."""

    def emit(self, record: logging.LogRecord) -> None:
        voice().say(self.format(record))


@contextmanager
def _speaking(verbose: bool) -> Iterator[None]:
    """Meanwhile, this rank tells what is logged."""
    handler = _Spoken()
    log.addHandler(handler)
    log.setLevel(logging.INFO if verbose else logging.WARNING)
    try:
        yield
    finally:
        log.removeHandler(handler)


def train(
    config: Config, comm: Communicator, output: Path, beginning: Beginning = Beginning(), verbose: bool | None = None
) -> None:
    """Compose and train; rank 0 speaks and writes. Where ranks may die, those that are left do so again.

    `verbose`: whether all that is logged is told, or warnings alone; None: nothing is.
    """
    beginning.agree(comm)
    require_outliving(config, comm.size, survivors.supported(), startup.library())
    # What was dealt to the ranks there are at first stays dealt out, whoever is left; and it is read once.
    agents = config.agents_on(comm.size)
    config = config.model_copy(update={"agents": agents})
    data, composed, memory = list[Dataset](), list[ComposedRun](), Memory()
    left_out = _left_out(comm, output) if beginning.resume else ()
    at_first = Placement.contiguous(agents, comm.size, left_out)

    def work(comm: Communicator, deaths: Deaths | None, progress: Progress) -> None:
        doing = voice().doing if comm.rank == 0 else _silence
        with nullcontext() if verbose is None or comm.rank else _speaking(verbose):
            if deaths is not None and config.failures.dropping:
                placement = at_first.left_to(deaths.left)
            else:
                placement = Placement.contiguous(agents, comm.size, left_out)
            run = compose(config, comm, output.parent, data[0] if data else None, doing, placement)
            data[:], composed[:] = [run.dataset], [run]
            run.training.outlived = progress.outlived
            agree(comm, {"the run file": str(output)}, "name one with -o for all ranks")
            try:
                carry_out(run, output, beginning, doing=doing, after=(deaths, progress), memory=memory)
            finally:
                progress.done = max(run.training.done, 0 if progress.again else progress.done)

    def give_up() -> None:
        while composed:
            composed.pop().abandon()

    most = config.failures.max if config.failures.outliving else 0
    outlive(comm, work, give_up, most, config.failures.timeout)


def _silence(text: str) -> None:
    """What other ranks say."""


def carry_out(
    run: ComposedRun,
    output: Path,
    beginning: Beginning,
    say: Callable[[str], None] | None = None,
    make_progress: Callable[[float], Hook] = make_progress,
    doing: Callable[[str], None] = _silence,
    after: tuple[Deaths | None, Progress] | None = None,
    memory: Memory | None = None,
) -> None:
    """A composed run, to its end; closed too where all ranks end it together (Stopped, Diverged). A collective call.

    `say` tells a person what is about the run, `doing` what is being done, and a hook from `make_progress` how it goes;
    all on rank 0. `after`: who has died, if the run goes on without them, and what is to be told of how far it comes;
    `memory`: for copies from which it then can, which outlasts this call.
    """
    say = say or voice().say
    world, hooks, run_file = run.world, run.training.hooks, None
    deaths, progress = after or (None, Progress())
    resumed: Resumption | None = None
    if deaths is None:
        for warning in run.warnings if world.rank == 0 else ():
            log.warning("%s", warning)
        resumed = _resumed(run, output, beginning) if beginning.resume else None
        if resumed is not None and resumed.over:
            run.close()
            if world.rank == 0:
                say(f"the run has its {run.training.rounds} rounds: results in {output}")
            return
        doing("trying a gradient and an evaluation")
        run.training.check()
    else:
        from mpidl.experiment.recovery import go_back, go_without

        resumed = (go_without if run.config.failures.dropping else go_back)(run, output, deaths, memory)
    # All ranks have checked before there is a file, so that a wrong model leaves none.
    world.barrier()
    if world.rank == 0:
        if deaths is None:
            say(_described(run))
            log.info("%s", world.table())
            for name, transport in run.transports.items():
                log.info("%s travel by: %s", name, transport)
        run_file = _run_file(run, output, beginning, resumed, say)
        if deaths is None:
            _tell(run, run_file, resumed, say)
    # And all wait for it, so that none has trained when it cannot be made.
    world.barrier()
    writer = FileWriter(run_file, run.meters)
    hooks.append(writer)
    if run_file is not None:
        # After the writer: what is not in the file yet is not told.
        hooks.append(make_progress(run.forecast.longest))
    hooks += mirrors_of(run, output, None if resumed is None else resumed.round)
    kept = keepers(run, run_file)
    hooks += kept
    # Last, so that copies and a checkpoint find all that belongs to their round done.
    judges, checkpoints = checkpoints_of(run, output)
    hooks += [*judges, *copies_of(run, memory), checkpoints]
    if world.rank == 0:
        presence.mark(presence.STOPPABLE)
    if run_file is not None and deaths is not None and resumed is not None:
        from mpidl.experiment.recovery import tell_of_deaths

        tell_of_deaths(run_file, deaths, resumed)
    progress.begun = progress.again = True
    try:
        with sentinel.before_ending(writer.save_at_once):
            run.training.run()
    except (Stopped, Diverged):
        # On all ranks after the same round.
        checkpoints.close()
        run.close()
        raise
    unsaved = next(filter(None, [writer.unsaved, *(each.unsaved for each in kept), checkpoints.unsaved]), None)
    sentence = world.bcast_text(str(unsaved or ""))
    run.close()
    if sentence:
        # On all ranks, so that none waits for another; every round is done by now.
        raise unsaved or SaveError(sentence)
    if world.rank == 0:
        say(f"results in {output}")


def _left_out(comm: Communicator, output: Path) -> tuple[int, ...]:
    """The agents that the run goes on without; see `_resumed`."""
    from mpidl.experiment.recovery import left_out

    return left_out(comm, output)


def _resumed(run: ComposedRun, output: Path, beginning: Beginning) -> Resumption | None:
    """From where the run goes on; what that takes is imported by no other run."""
    from mpidl.experiment.resume import resume

    return resume(run, output, beginning.allowed)


def _tell(run: ComposedRun, run_file: RunFile, resumed: Resumption | None, say: Callable[[str], None]) -> None:
    """How long it will take, and warnings, which the file of a run that goes on has already."""
    forecast = run.forecast
    say(forecast.sentence)
    if forecast.warning:
        log.warning("%s", forecast.warning)
    for warning in filter(None, (*run.warnings, forecast.warning) if resumed is None else ()):
        run_file.event("warning", warning)


def _described(run: ComposedRun) -> str:
    """Who trains what, and where."""
    world = run.world
    hosts = len(set(world.hosts))
    devices = sorted({re.sub(r":\d+", "", device) for device in world.devices})
    where = f"{world.host if hosts == 1 else f'{hosts} hosts'} ({', '.join(devices)})"
    examples = sum(run.training.algorithm.sizes[agent] for agent in world.everyone)
    return (
        f"{counted(len(world.everyone), 'agent')} on {counted(world.size, 'rank')} of {where}: "
        f"{counted(examples, 'example')}, {counted(run.rows.size, 'parameter')}"
    )


def _run_file(
    run: ComposedRun, output: Path, beginning: Beginning, resumed: Resumption | None, say: Callable[[str], None]
) -> RunFile:
    """A new run file, or the one that is gone on with."""
    if resumed is None:
        # What was there without a checkpoint is begun again.
        return create_run_file(run, output, beginning.overwrite or beginning.resume)
    keys, metrics = run.config.model_dump(mode="json"), run.training.algorithm.metrics
    run_file = RunFile.open(output, until_round=resumed.keeps, metrics=metrics, config=keys, data=run.data)
    CheckpointFolder(output).tidy()
    # Of deaths is told once the run goes on.
    died = any(kind == "failure" for kind, _ in resumed.events)
    for kind, text in () if died else resumed.events:
        run_file.event(kind, text, resumed.round)
        if kind == "resume":
            say(text)
    return run_file


def create_run_file(run: ComposedRun, output: Path, overwrite: bool) -> RunFile:
    """The run file with everything that is known before training."""
    config, world = run.config, run.world
    mirrors.check(config.train.log)
    facts = provenance.gather(hosts=world.hosts, gpus=world.devices, mpi_library=startup.library())
    facts["versions"] |= run.plug_ins
    facts["data"] = run.data
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
