"""How much of the time of messages hides behind a gradient, with `gossip.overlap` on and off.

    python tools/bench_overlap.py [--ranks 2] [--millions 1,25] [--seconds 20]

Starts itself under mpirun. A round is `start`, computing, `finish`, on a ring of float32 rows by messages. Computing
takes as long as three rounds of mixing alone. Once it is arithmetic, so that with a rank on every core no core is
spare; once it is sleep, which leaves the core to others, as a gradient does that a GPU computes. Printed are medians of
the slowest rank, and the share of mixing alone that has vanished: (computing + mixing − both at once) / mixing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

ROUNDS_OF_COMPUTING = 3


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", default="2")
    parser.add_argument("--millions", default="1,25", help="parameters, in millions")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each size")
    return parser.parse_args()


def exchange_of(comm, parameters: int, **settings):
    import torch

    from mpidl.comm.gossip.exchange import RowExchange
    from mpidl.comm.gossip.neighbourhood import Neighbourhood
    from mpidl.comm.gossip.settings import GossipSettings
    from mpidl.comm.meters import Meters
    from mpidl.comm.world import World
    from mpidl.graphs import GRAPHS

    topology = GRAPHS.parse("ring").build(comm.size, seed=0)
    world = World(comm, comm.size)
    neighbourhood = Neighbourhood(world, topology, GossipSettings(**settings), Meters())
    return RowExchange(neighbourhood, "rows", parameters, torch.float32, gamma=1.0)


def arithmetic(seconds: float) -> Callable[[], None]:
    """Work of about so many seconds for one core, in its cache."""
    import torch

    matrix = torch.randn(128, 128)
    product = torch.empty_like(matrix)

    def work(times: int) -> float:
        begin = time.perf_counter()
        for _ in range(times):
            torch.mm(matrix, matrix, out=product)
        return time.perf_counter() - begin

    times = max(1, round(seconds * 200 / min(work(200) for _ in range(5))))
    return lambda: work(times) and None


def rank_main(arguments: argparse.Namespace) -> None:
    from mpidl.comm.benchmark import slowest
    from mpidl.comm.start import startup

    comm = startup.start("cpu", 1)
    if comm.rank == 0:
        print(f"\n{comm.size} ranks\n{'millions':>9} {'computing':12}{'':30}{'ms':>9} {'hidden':>7}", flush=True)
    for millions in map(float, arguments.millions.split(",")):
        parameters = int(millions * 1e6)
        exchanges = {
            "messages": exchange_of(comm, parameters, transport="messages"),
            "messages, overlap": exchange_of(comm, parameters, transport="messages", overlap=True),
            "shared memory": exchange_of(comm, parameters, transport="shared"),
        }
        blocks = {name: exchange.blocks[0] for name, exchange in exchanges.items()}

        def mix(name: str, compute: Callable[[], None], exchanges=exchanges, blocks=blocks) -> None:
            exchanges[name].start(blocks[name], 0)
            compute()
            blocks[name] = exchanges[name].finish()

        alone = {name: (lambda name=name: mix(name, lambda: None)) for name in exchanges}
        mixing = {name: statistics.median(times) for name, times in slowest(comm, alone, arguments.seconds / 4).items()}
        length = ROUNDS_OF_COMPUTING * mixing["messages"]
        for kind, compute in (("arithmetic", arithmetic(length)), ("sleep", lambda length=length: time.sleep(length))):
            plays: dict[str, Callable[[], None]] = {"computing": compute}
            plays |= {name: (lambda name=name, compute=compute: mix(name, compute)) for name in exchanges}
            found = {
                name: statistics.median(times) for name, times in slowest(comm, plays, arguments.seconds / 3).items()
            }
            if comm.rank == 0:
                print(f"{millions:9g} {kind:12}{'alone':30}{1e3 * found['computing']:9.2f}")
                for name in exchanges:
                    hidden = (found["computing"] + mixing[name] - found[name]) / mixing[name]
                    told = f"{name} (alone {1e3 * mixing[name]:.2f})"
                    print(f"{millions:9g} {kind:12}{told:30}{1e3 * found[name]:9.2f} {100 * hidden:6.0f}%", flush=True)


def main() -> None:
    from mpidl.comm.start.failures import guard
    from mpidl.launch.process import Launch
    from mpidl.launch.surroundings import is_rank

    arguments = options()
    if is_rank():
        # A rank that ends outside it is taken for one that has failed.
        with guard():
            rank_main(arguments)
        return
    for ranks in map(int, arguments.ranks.split(",")):
        code = Launch(ranks, [sys.executable, __file__, *sys.argv[1:]]).run()
        if code:
            sys.exit(code)


if __name__ == "__main__":
    main()
