"""Rounds of a ring of 4 ranks on two hosts, as fractions of the rate of the link between them; needs root.

    python tools/bench_network.py [--links 1gbit,100mbit,1gbit/20ms] [--millions 1,25] [--seconds 15] [--only gossip]

The two hosts are those of tools/two_hosts.sh, on this machine. Each contestant mixes float32 rows with the two
neighbours of a ring, so that two rows cross the link each way in a round: `Isend/Irecv` of mpi4py with what it needs
made before, `gossip` of mpidl as runs have it, `gloo` by torch.distributed's batch_isend_irecv. A time is that of the
slowest rank from an instant on at which all begin; contestants take turns in an order drawn anew, and before each timed
round goes one that is not timed, unless rounds take a second. Printed are the median and quartiles in milliseconds, and
what part of the link's rate the rows in the median made use of. mpidl has Open MPI send chunks over TCP unasked; with
OMPI_MCA_btl_tcp_eager_limit=65536 in the environment, all that is Open MPI's own is left to it.

`overlap` is a round with a gradient between the start of an exchange and its end, `gossip.overlap` on and off. The
gradient is arithmetic, with which all cores are busy, or sleep, which leaves them to others as a GPU does; it is as
long as a round of mixing, or as half of one. Printed is how much of what could be hidden was: the shorter one of both,
less, beside arithmetic, the time for which sums and messages themselves keep all cores busy.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

RANKS, ROWS_EACH_WAY, LEAST_ROUNDS = 4, 2, 3
# In the first rounds of an exchange it finds out how many chunks are to be under way; they are no contest. Where that
# would take minutes, it goes on in those that are timed.
FIRST_ROUNDS = 12
FIRST_SECONDS = 20.0
# A round that takes longer is not played before it is timed: what it finds cold is little beside it.
LONG_SECONDS = 1.0
GRADIENTS = (1.0, 0.5)
AGREED_SECONDS = 0.1
PORT = 29711


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", default="1gbit,100mbit,1gbit/20ms", help="rate, or rate/delay one way")
    parser.add_argument("--millions", default="1,25", help="parameters, in millions")
    parser.add_argument("--seconds", type=float, default=15.0, help="for each size and link; for overlap as many")
    parser.add_argument("--only", default="Isend/Irecv,gossip,gloo,overlap", help="contestants")
    parser.add_argument("--link", help=argparse.SUPPRESS)
    return parser.parse_args()


@contextmanager
def two_hosts(link: str) -> Iterator[dict[str, str]]:
    """The hosts, joined by this link; gives what launchers must have in their environment."""
    from mpidl.launch.command import rank_environment

    script = ["bash", str(ROOT / "tools/two_hosts.sh")]
    rate, _, delay = link.partition("/")
    with tempfile.TemporaryDirectory(prefix="mpidl-network-") as folder:
        environment = rank_environment() | {"MPIDL_HOSTS": f"{folder}/hosts"}
        start = [*script, "start", "--rate", rate, *(["--delay", delay] if delay else [])]
        try:
            exports = subprocess.run(start, env=environment, text=True, stdout=subprocess.PIPE, check=True).stdout
            for line in exports.splitlines():
                environment |= dict(word.split("=", 1) for word in shlex.split(line)[1:])
            yield environment
        finally:
            subprocess.run([*script, "stop"], env=environment, check=True)


def bits_per_second(rate: str) -> float:
    found = re.fullmatch(r"([0-9.]+)([kmg])bit", rate)
    if found is None:
        sys.exit(f"bench_network: {rate} is not a rate, as 1gbit and 100mbit are")
    return float(found[1]) * {"k": 1e3, "m": 1e6, "g": 1e9}[found[2]]


def exchange_of(comm, parameters: int, **settings):
    import torch

    from mpidl.comm.gossip.exchange import RowExchange
    from mpidl.comm.gossip.neighbourhood import Neighbourhood
    from mpidl.comm.gossip.settings import GossipSettings
    from mpidl.comm.meters import Meters
    from mpidl.comm.world import World
    from mpidl.graphs import GRAPHS

    ring = GRAPHS.parse("ring").build(comm.size, seed=0)
    neighbourhood = Neighbourhood(World(comm, comm.size), ring, GossipSettings(**settings), Meters())
    return RowExchange(neighbourhood, "rows", parameters, torch.float32, gamma=1.0)


class Mixing:
    """Rounds of an exchange, with something done meanwhile; those of another one of the same may come in between."""

    def __init__(self, exchange, meanwhile: Callable[[], object] = lambda: None) -> None:
        self._exchange, self._meanwhile, self._t = exchange, meanwhile, 0

    def __call__(self) -> None:
        self._exchange.start(self._exchange.present, self._t)
        self._meanwhile()
        self._exchange.finish()
        self._t += 1


def contestants(comm, parameters: int, only: list[str]) -> dict[str, Callable[[], object]]:
    """Name → one round, of those wanted; all that can be prepared is prepared here."""
    import torch
    import torch.distributed as dist
    from mpi4py import MPI

    neighbours = [(comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size]
    own, out, received = torch.randn(parameters), torch.empty(parameters), torch.empty(2, parameters)

    def combine() -> None:
        torch.mul(own, 1 / 3, out=out)
        for row in received:
            out.add_(row, alpha=1 / 3)

    def isend_irecv() -> None:
        requests = [comm.Irecv(row.numpy(), j) for row, j in zip(received, neighbours, strict=True)]
        requests += [comm.Isend(own.numpy(), j) for j in neighbours]
        MPI.Request.Waitall(requests)
        combine()

    def gloo() -> None:
        operations = [dist.P2POp(dist.irecv, row, j) for row, j in zip(received, neighbours, strict=True)]
        operations += [dist.P2POp(dist.isend, own, j) for j in neighbours]
        for work in dist.batch_isend_irecv(operations):
            work.wait()
        combine()

    plays: dict[str, Callable[[], object]] = {"Isend/Irecv": isend_irecv, "gloo": gloo}
    if "gossip" in only:
        plays["gossip"] = settled(comm, Mixing(exchange_of(comm, parameters)))
    return {name: plays[name] for name in only if name in plays}


def settled(comm, mixing: Mixing) -> Mixing:
    """The same, once it has done its first rounds."""
    end = time.perf_counter() + FIRST_SECONDS
    for _ in range(FIRST_ROUNDS):
        mixing()
        if comm.bcast(time.perf_counter() > end):
            break
    return mixing


def timed(comm, plays: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Seconds of the slowest rank, of each play."""
    from mpi4py import MPI

    def once(name: str) -> float:
        comm.Barrier()
        # Ranks leave a barrier as long after each other as a word takes between hosts, but their clock is the same.
        begin = comm.bcast(time.perf_counter() + AGREED_SECONDS)
        time.sleep(max(0.0, begin - time.perf_counter()))
        plays[name]()
        return comm.allreduce(time.perf_counter() - begin, MPI.MAX)

    times: dict[str, list[float]] = {name: [] for name in plays}
    first = {name: once(name) for name in plays}
    order, end = random.Random(0), time.perf_counter() + seconds
    while comm.bcast(time.perf_counter() < end or len(next(iter(times.values()))) < LEAST_ROUNDS):
        for name in order.sample(list(plays), len(plays)):
            if first[name] < LONG_SECONDS:
                plays[name]()
            times[name].append(once(name))
    return times


def arithmetic(comm, seconds: float) -> Callable[[], object]:
    """Work that takes about so many seconds when all ranks are at it."""
    import torch

    matrix, product = torch.randn(128, 128), torch.empty(128, 128)

    def work(times: int) -> float:
        begin = time.perf_counter()
        for _ in range(times):
            torch.mm(matrix, matrix, out=product)
        return time.perf_counter() - begin

    comm.Barrier()
    pace = comm.allreduce(min(work(1000) for _ in range(5))) / comm.size
    times = max(1, round(1000 * seconds / pace))
    return lambda: work(times)


def tell(comm, what: str, values: list[float], found: str) -> None:
    if comm.rank == 0:
        low, median, high = (1e3 * quantile for quantile in statistics.quantiles(values, n=4, method="inclusive"))
        print(f"{what:34}{median:10.1f} {f'{low:.1f}-{high:.1f}':>18} {found:>8}  {len(values)}", flush=True)


def rank_main(arguments: argparse.Namespace) -> None:
    import torch
    import torch.distributed as dist

    from mpidl.comm.start import startup

    comm = startup.start("cpu", 1)
    only = arguments.only.split(",")
    if "gloo" in only:
        # Both hosts have this interface, and the first rank is on host a.
        os.environ["GLOO_SOCKET_IFNAME"] = "eth0"
        dist.init_process_group("gloo", init_method=f"tcp://a:{PORT}", rank=comm.rank, world_size=comm.size)
    speed = bits_per_second(arguments.link.partition("/")[0])
    if comm.rank == 0:
        where = f"{os.cpu_count()} cores, {startup.library()}, torch {torch.__version__}"
        print(f"\n{arguments.link}: {comm.size} ranks on two hosts, {where}")
        print(f"{'':34}{'median ms':>10} {'quartiles':>18} {'of rate':>8}  rounds", flush=True)
    for millions in map(float, arguments.millions.split(",")):
        parameters = int(millions * 1e6)
        bits = 8 * ROWS_EACH_WAY * 4 * parameters
        plays = contestants(comm, parameters, only)
        if plays:
            for name, values in timed(comm, plays, arguments.seconds).items():
                tell(comm, f"{millions:g} M {name}", values, f"{bits / speed / statistics.median(values):.2f}")
        if "overlap" in only:
            overlapped(comm, parameters, arguments.seconds)
    if "gloo" in only:
        dist.destroy_process_group()


def overlapped(comm, parameters: int, seconds: float) -> None:
    """What `gossip.overlap` hides behind gradients."""
    exchanges = {how: exchange_of(comm, parameters, overlap=bool(how)) for how in ("", ", overlap")}
    for exchange in exchanges.values():
        settled(comm, Mixing(exchange))
    alone = comm.bcast(statistics.median(timed(comm, {"": Mixing(exchanges[""])}, seconds / 5)[""]))
    busy = core_seconds(comm, Mixing(exchanges[", overlap"], lambda: time.sleep(alone))) / (os.cpu_count() or 1)
    if comm.rank == 0:
        print(f"{parameters / 1e6:g} M mixing keeps all cores busy for {1e3 * busy:.0f} ms of {1e3 * alone:.0f}")
    shares = GRADIENTS if alone < LONG_SECONDS else GRADIENTS[:1]
    kinds = {"arithmetic": lambda s: arithmetic(comm, s), "sleep": lambda s: lambda: time.sleep(s)}
    for share, kind in itertools.product(shares, kinds):
        gradient = kinds[kind](share * alone)
        plays = {"": Mixing(exchanges[""]), "gradient alone": gradient}
        plays |= {f"both{how}": Mixing(exchange, gradient) for how, exchange in exchanges.items()}
        times = timed(comm, plays, seconds / len(shares) / len(kinds))
        mixing, computing = statistics.median(times.pop("")), statistics.median(times.pop("gradient alone"))
        best = max(mixing, computing + busy if kind == "arithmetic" else computing)
        for how, values in times.items():
            hidden = (mixing + computing - statistics.median(values)) / (mixing + computing - best)
            what = f"{parameters / 1e6:g} M {kind} {share:g} ({1e3 * computing:.0f}), {how}"
            tell(comm, what, values, f"{100 * hidden:.0f} %")


def core_seconds(comm, play: Callable[[], object]) -> float:
    """Processor time of all ranks in a round."""
    comm.Barrier()
    begin = time.process_time()
    for _ in range(LEAST_ROUNDS):
        play()
    return comm.allreduce(time.process_time() - begin) / LEAST_ROUNDS


def main() -> None:
    arguments = options()
    # So that the hosts are taken down, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if arguments.link is not None:
        from mpidl.comm.start.failures import guard

        # A rank that ends outside it is taken for one that has failed.
        with guard():
            rank_main(arguments)
        return
    from mpidl.launch.command import PASSED_ON
    from mpidl.launch.launcher import find

    _, launcher = find()
    for link in arguments.links.split(","):
        bits_per_second(link.partition("/")[0])
        with two_hosts(link) as environment:
            command = ["bash", str(ROOT / "tools/two_hosts.sh"), "run", "a", launcher.path, "--allow-run-as-root"]
            # As mpidl starts more ranks than there are cores.
            command += ["--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"]
            command += ["--host", f"a:{RANKS // 2},b:{RANKS // 2}"]
            command += [word for name in PASSED_ON if name in environment for word in ("-x", name)]
            command += [sys.executable, __file__, *sys.argv[1:], "--link", link]
            code = subprocess.run(command, env=environment, check=False).returncode
        if code:
            sys.exit(code)


if __name__ == "__main__":
    main()
