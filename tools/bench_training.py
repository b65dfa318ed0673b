"""Whole training rounds of mpidl, DistributedDataParallel and Decent-DP, measured in one run on one machine.

    python tools/bench_training.py [--quick] [--ranks 2,4] [--turns 3] [--rounds 10] [--only "mpidl ring, DDP"]

All train the same network on the same data with float32, SGD with momentum and one thread per rank: mpidl dsgd under
mpirun, the others on gloo over the loopback interface. Each library is a launch of its own, which waits for its turns
without using a core. In a turn one contestant sets up its run, warms up and trains some rounds; the turns alternate
in an order drawn anew each time. A round ends when its slowest rank ends it.

Printed are the median and quartiles of the rounds, and the ratios of medians to the gradient alone (on as many ranks at
once, with a barrier), to mpidl on a ring, and to mpidl on a one-peer exponential graph, these two through shared memory
where possible. `gradient and step` is a round without any exchange. mpidl computes, steps, then mixes; `meanwhile` is
its order adapt-while-communicate, in which a rank may be a gradient behind its neighbours before they wait for it.
DistributedDataParallel (DDP) reduces gradients during the backward pass; Decent-DP mixes with what was sent a round
earlier, so its ranks may be a round apart, and its ring averages with one neighbour a round, left and right in turn.
The long form takes about ten minutes on two cores, the quick one two.

Decent-DP comes from PyPI and goes into .venv-peers, which sees the packages of the environment that runs this program.
Where that fails, or a contestant does, its line says why.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench_training_rank import BATCH, CLASSES, CONTESTANTS, MODELS, SHAPE  # noqa: E402

RANK_PROGRAM = str(Path(__file__).with_name("bench_training_rank.py"))
REFERENCES = ("gradient alone", "mpidl ring", "mpidl one-peer")
PEERS = ROOT / ".venv-peers"
PATIENCE = 300.0
"""Seconds after which a launch that does not answer is given up."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 ranks, 2 turns of 4 rounds, unless told otherwise")
    parser.add_argument("--ranks")
    parser.add_argument("--turns", type=int, help="of each contestant")
    parser.add_argument("--rounds", type=int, help="in a turn, after warming up")
    parser.add_argument("--only", default="", help="comma-separated contestants, beside those that ratios refer to")
    arguments = parser.parse_args()
    ranks, turns, rounds = ("2", 2, 4) if arguments.quick else ("2,4", 3, 10)
    arguments.ranks = [int(n) for n in (arguments.ranks or ranks).split(",")]
    arguments.turns, arguments.rounds = arguments.turns or turns, arguments.rounds or rounds
    names = [name.strip() for name in arguments.only.split(",") if name.strip()] or list(CONTESTANTS)
    for name in names:
        if name not in CONTESTANTS:
            parser.error(f"--only: {name!r} is not known ({', '.join(CONTESTANTS)})")
    arguments.names = [name for name in CONTESTANTS if name in (*names, *REFERENCES)]
    return arguments


class Failed(Exception):
    """Why a contestant is out."""


def last_line(text: str, otherwise: str = "it said nothing") -> str:
    lines = [line.strip() for line in text.splitlines() if any(map(str.isalnum, line))]
    return lines[-1] if lines else otherwise


def peers_python() -> str:
    """The interpreter of an environment that has Decent-DP beside everything that this one has."""
    python = str(PEERS / "bin" / "python")

    def run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(last_line(done.stderr))
        return done.stdout.strip()

    ask = "import decent_dp.ddp, importlib.metadata; print(importlib.metadata.version('decent-dp'))"
    with contextlib.suppress(Failed, FileNotFoundError):
        print(f"Decent-DP {run(python, '-c', ask)}")
        return python
    print(f"installing Decent-DP into {PEERS}", flush=True)
    # This environment's pip installs into that one, which needs none of its own.
    run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(PEERS))
    pip = ("-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check")
    run(sys.executable, *pip, "--no-deps", "decent-dp", "loguru")
    ours = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    lines = [f"import site; site.addsitedir({folder!r})\n" for folder in ours]
    theirs = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    (theirs / "ours.pth").write_text("".join(lines))
    print(f"Decent-DP {run(python, '-c', ask)}")
    return python


class Launch:
    """The ranks of one library, with a connection to each."""

    def __init__(self, library: str, ranks: int) -> None:
        self.library, self.ranks = library, ranks
        self._folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._links: list[Connection] = []
        self._turns = 0

    def start(self, python: str) -> None:
        from mpidl.launch.command import rank_environment
        from mpidl.launch.process import Launch as Mpirun

        address = str(self._folder / "link")
        program = [python, RANK_PROGRAM, self.library, address]
        environment = rank_environment() | {"CUDA_VISIBLE_DEVICES": "", "LOGURU_LEVEL": "ERROR"}
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(address)
            server.listen(self.ranks)
            if self.library == "mpidl":
                self._spawn(Mpirun(self.ranks, program).command(environment), environment)
            else:
                for rank in range(self.ranks):
                    place = {"RANK": str(rank), "WORLD_SIZE": str(self.ranks), "GLOO_SOCKET_IFNAME": "lo"}
                    self._spawn(program, environment | place)
            self._accept(server)

    def _spawn(self, command: list[str], environment: dict[str, str]) -> None:
        with (self._folder / "output").open("ab") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Not a session: Linux divides cores between sessions first, and mpirun's ranks would share one part.
                process_group=0,
            )
        self._processes.append(process)

    def _accept(self, server: socket.socket) -> None:
        end = time.monotonic() + PATIENCE
        while len(self._links) < self.ranks:
            if select.select([server], [], [], 0.5)[0]:
                self._links.append(Connection(server.accept()[0].detach()))
            elif any(process.poll() is not None for process in self._processes):
                raise Failed(self._last_words())
            elif time.monotonic() > end:
                raise Failed(f"did not start within {PATIENCE:.0f} seconds")

    def _last_words(self) -> str:
        otherwise = "a rank ended without a word"
        return last_line((self._folder / "output").read_text(errors="replace"), otherwise)

    def turn(self, name: str, model: str, rounds: int) -> list[float]:
        """Seconds of each round of this contestant."""
        self._turns += 1
        task = {"name": name, "model": model, "rounds": rounds, "store": str(self._folder / f"store-{self._turns}")}
        ends: list[list[float]] = []
        waiting = list(self._links)
        deadline = time.monotonic() + PATIENCE
        try:
            for link in waiting:
                link.send(task)
            while waiting:
                ready = wait(waiting, max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise Failed(f"no answer within {PATIENCE:.0f} seconds")
                for link in ready:
                    answer: Any = link.recv()
                    if isinstance(answer, str):
                        raise Failed(last_line(answer))
                    ends.append(answer)
                    waiting.remove(link)
        except (EOFError, ConnectionError):
            raise Failed(self._last_words()) from None
        return [after - before for before, after in pairwise(map(max, zip(*ends, strict=True)))]

    def stop(self) -> None:
        """Ranks end when their connection does, unless they hang."""
        for link in self._links:
            link.close()
        for number in (0, signal.SIGTERM, signal.SIGKILL):
            end = time.monotonic() + 10
            for process in self._processes:
                if process.poll() is None:
                    os.killpg(process.pid, number)
            for process in self._processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.1, end - time.monotonic()))
        shutil.rmtree(self._folder, ignore_errors=True)


def measure(ranks: int, arguments: argparse.Namespace, pythons: dict[str, str | Failed], sizes: dict[str, int]) -> None:
    reasons: dict[str, str] = {}
    launches: dict[str, Launch] = {}
    order = random.Random(0)

    def turn(name: str, model: str) -> list[float]:
        library = CONTESTANTS[name][0]
        python = pythons[library]
        if isinstance(python, Failed):
            raise python
        try:
            if library not in launches:
                launches[library] = Launch(library, ranks)
                launches[library].start(python)
            return launches[library].turn(name, model, arguments.rounds)
        except Failed:
            # Its ranks may hang; the library's other contestants get new ones.
            launches.pop(library).stop()
            raise

    try:
        for model in MODELS:
            seconds: dict[str, list[float]] = {name: [] for name in arguments.names}
            for _ in range(arguments.turns):
                for name in order.sample(arguments.names, len(arguments.names)):
                    if name not in reasons:
                        try:
                            seconds[name] += turn(name, model)
                        except Failed as error:
                            reasons[name] = str(error)
            report(f"{model}, {sizes[model]:,} parameters, batch {BATCH}, {ranks} ranks", seconds, reasons)
    finally:
        for launch in launches.values():
            launch.stop()


def report(title: str, seconds: dict[str, list[float]], reasons: dict[str, str]) -> None:
    medians = {name: statistics.median(times) for name, times in seconds.items() if len(times) > 1}
    print(f"\n{title} on {os.cpu_count()} cores")
    print(f"{'':25}{'median ms':>10}{'quartiles':>19}{'/gradient':>11}{'/ring':>8}{'/one-peer':>11}  rounds")
    for name, times in seconds.items():
        if name in reasons:
            print(f"{name:25} failed: {reasons[name]}")
        else:
            low, median, high = (1e3 * quantile for quantile in statistics.quantiles(times, n=4))
            ratios = [f"{medians[name] / medians[base]:.2f}" if base in medians else "" for base in REFERENCES]
            spread = f"{low:.1f}-{high:.1f}"
            print(f"{name:25}{median:10.1f}{spread:>19}{ratios[0]:>11}{ratios[1]:>8}{ratios[2]:>11}  {len(times)}")
    sys.stdout.flush()


def size_of(model: str) -> int:
    """The number of its parameters."""
    from mpidl.models import MODELS as registry

    module = registry.parse(MODELS[model]).build(SHAPE, CLASSES)
    return sum(parameter.numel() for parameter in module.parameters())


def main() -> None:
    arguments = options()
    # So that launches are ended and folders removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    pythons: dict[str, str | Failed] = {"mpidl": sys.executable, "torch": sys.executable}
    if any(CONTESTANTS[name][0] == "decent" for name in arguments.names):
        try:
            pythons["decent"] = peers_python()
        except Failed as error:
            pythons["decent"] = error
    sizes = {model: size_of(model) for model in MODELS}
    for ranks in arguments.ranks:
        measure(ranks, arguments, pythons, sizes)


if __name__ == "__main__":
    main()
