"""Where the start of a run goes, phase by phase, on 1, 2 and 4 ranks, and what of it is mpidl's own.

    python tools/bench_start.py [--config configs/quickstart-dsgd.yaml] [--ranks 1,2,4] [--times 5]

Starts `mpidl run` with one round, so many times, with clocks around the parts of launcher and ranks; the product knows
nothing of them. Printed are medians of seconds: of the launcher until its first words and until it starts mpirun, then
of the slowest rank in each phase. A phase is what passes on the clock, so that ranks which share a core wait for each
other in it. Own is all but Python's start, importing torch, and starting MPI (mpirun, mpi4py and the library).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STAMPS = "MPIDL_BENCH_STAMPS"

FIRST_WORDS, COMMAND = "launcher: until its first words", "launcher: until it starts mpirun"
RANK = (
    *("mpirun, until the rank's Python", "Python", "torch", "mpi4py", "mpidl", "configuration", "MPI_Init and checks"),
    *("data", "model", "graph and algorithm", "rest of composing", "trying out", "run file", "evaluation"),
    *("first round", "last words", "end"),
)
NOT_OURS = {"mpirun, until the rank's Python", "Python", "torch", "mpi4py", "MPI_Init and checks", "end"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "quickstart-dsgd.yaml")
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    found = {
        int(ranks): [measured(options.config, int(ranks)) for _ in range(options.times)]
        for ranks in options.ranks.split(",")
    }
    print(
        f"{'seconds (median of ' + str(options.times) + ')':42}"
        + "".join(f"{n} rank{'s' * (n > 1)}".rjust(10) for n in found)
    )
    for name in dict.fromkeys(name for runs in found.values() for run in runs for name in run):
        cells = (statistics.median(run[name] for run in runs) for runs in found.values())
        print(f"{name:42}" + "".join(f"{cell:10.3f}" for cell in cells))


def measured(config: Path, ranks: int) -> dict[str, float]:
    """Seconds by phase of one run."""
    with tempfile.TemporaryDirectory() as folder:
        stamps = Path(folder, "stamps")
        stamps.mkdir()
        words = [sys.executable, __file__, "run", str(config), "-n", str(ranks), "-s", "train.rounds=1"]
        words += ["-o", str(Path(folder, "out.h5"))]
        environment = os.environ | {STAMPS: str(stamps), "OMP_NUM_THREADS": "1"}
        begun = time.time()
        with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            first = process.stderr.readline()
            spoke = time.time()
            rest = process.stderr.read()
        ended = time.time()
        if process.returncode:
            sys.exit((first + rest).decode())
        launcher = json.loads((stamps / "launcher").read_text())
        of_ranks = [json.loads(path.read_text()) for path in sorted(stamps.glob("rank-*"))]
    phases = {FIRST_WORDS: spoke - begun, COMMAND: launcher["command"] - begun}
    before = dict.fromkeys(range(ranks), launcher["command"])
    for name in RANK:
        times = [times.get(name, ended) for times in of_ranks]
        phases[name] = max(then - before[rank] for rank, then in enumerate(times))
        before = dict(enumerate(times))
    phases["until the first round is done"] = max(times["first round"] for times in of_ranks) - begun
    phases["in all"] = ended - begun
    phases["own, until the first round is done"] = phases[COMMAND] + sum(
        phases[name] for name in RANK[: RANK.index("first round") + 1] if name not in NOT_OURS
    )
    return phases


class Clock:
    """When phases of this process ended, in a file of its own that is there once it is over."""

    def __init__(self, name: str) -> None:
        self._file = Path(os.environ[STAMPS], name)
        self.times: dict[str, float] = {}

    def stamp(self, name: str) -> None:
        self.times.setdefault(name, time.time())
        self._file.write_text(json.dumps(self.times))

    def after(self, place: Any, attribute: str, name: str) -> None:
        """Stamps when this function of a module or class has first returned."""
        function = getattr(place, attribute)

        def timed(*arguments: Any, **keywords: Any) -> Any:
            result = function(*arguments, **keywords)
            self.stamp(name)
            return result

        setattr(place, attribute, timed)


def launcher() -> Callable[[], int]:
    """The launching process: its ranks are to run this program."""
    from mpidl.cli import main as command
    from mpidl.cli import run

    clock, program = Clock("launcher"), run.Words.program

    def own(words: Any, output: Path) -> list[str]:
        given = program(words, output)
        return [given[0], __file__, *given[given.index("mpidl") + 1 :]]

    def start(*arguments: Any, **keywords: Any) -> subprocess.Popen[bytes]:
        process = popen(*arguments, **keywords)
        if "mpi" in Path(str(arguments[0][0])).name:
            clock.times["command"] = time.time()
            clock.stamp("command")
        return process

    run.Words.program = own  # type: ignore[method-assign]
    popen, subprocess.Popen = subprocess.Popen, start  # type: ignore[assignment, misc]
    return command.main


def rank(number: str) -> Callable[[], int]:
    """A rank: what it imports and calls is stamped in the order in which a run does so."""
    clock = Clock(f"rank-{number}")
    begun = time.time() - (float(Path("/proc/uptime").read_text().split()[0]) - ticks())
    clock.times[RANK[0]] = begun
    clock.stamp("Python")
    # As the product does, which imports the same in another order.
    gc.disable()
    import torch  # noqa: F401

    clock.stamp("torch")
    # It decides how mpi4py starts MPI: not when it is imported.
    import mpidl.comm  # noqa: F401, I001
    import mpi4py.MPI  # noqa: F401

    clock.stamp("mpi4py")
    from mpidl.cli import main as command
    from mpidl.comm.start import startup
    from mpidl.experiment import compose, rank
    from mpidl.training.loop import Training
    from mpidl.training.record import Recorder

    clock.stamp("mpidl")
    entered = rank.startup.start

    def start(*arguments: Any) -> Any:
        clock.stamp("configuration")
        comm = entered(*arguments)
        clock.stamp("MPI_Init and checks")
        return comm

    startup.start = start
    clock.after(compose, "agree_on_data", "data")
    clock.after(compose, "agree_on_start", "model")
    clock.after(compose, "make_algorithm", "graph and algorithm")
    clock.after(rank, "compose", "rest of composing")
    clock.after(Training, "check", "trying out")
    # Every rank goes on from here once rank 0 has the file.
    clock.after(rank, "keepers", "run file")
    clock.after(Recorder, "start", "evaluation")
    clock.after(Training, "run_round", "first round")
    clock.after(Training, "run", "last words")
    return command.main


def ticks() -> float:
    """Seconds from the start of the system to that of this process."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    if STAMPS not in os.environ:
        main()
    else:
        sys.path.insert(0, str(ROOT))
        number = os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK"))
        sys.exit((launcher() if number is None else rank(number))())
