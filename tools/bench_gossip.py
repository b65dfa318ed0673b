"""One round of a ring, by mpidl and by other means, measured in one run on one machine.

    python tools/bench_gossip.py [--ranks 2,4] [--millions 0.1,1,5,25] [--seconds 20] [--only "mpidl shared"]

Starts itself under mpirun. Every contestant mixes float32 rows with the two neighbours of a ring (one for two ranks):
own row and theirs, equally weighted, into another row. A time is that of the slowest rank, from a barrier on, after a
round of the same contestant that is not timed. Printed are the median, the quartiles, and the ratio of medians to the
preallocated Isend/Irecv loop. `copy` copies one row on every rank at once: twice that is about what memory bandwidth
allows for a ring round through shared memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

REFERENCE = "Isend/Irecv"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", default="2,4")
    parser.add_argument("--millions", default="0.1,1,5,25", help="parameters, in millions")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each size, all contestants together")
    parser.add_argument("--only", default="", help="comma-separated contestants, beside the reference")
    parser.add_argument("--port", type=int, default=29611, help="where the ranks of gloo meet")
    return parser.parse_args()


def contestants(comm, parameters: int) -> dict[str, Callable[[], object]]:
    """Name → one round. All that can be prepared is prepared here. Its order is drawn anew for each round."""
    import torch
    import torch.distributed as dist
    from mpi4py import MPI

    from mpidl.comm.gossip.exchange import RowExchange
    from mpidl.comm.gossip.neighbourhood import Neighbourhood
    from mpidl.comm.gossip.settings import GossipSettings
    from mpidl.comm.meters import Meters
    from mpidl.comm.world import World
    from mpidl.graphs.base import Mixing, Periodic

    rank, size = comm.rank, comm.size
    neighbours = sorted({(rank - 1) % size, (rank + 1) % size})
    weight = 1 / (len(neighbours) + 1)
    own, out = torch.randn(parameters), torch.empty(parameters)
    received = torch.empty(len(neighbours), parameters)

    def combine() -> None:
        torch.mul(own, weight, out=out)
        for row in received:
            out.add_(row, alpha=weight)

    def isend_irecv() -> None:
        requests = [comm.Irecv(row.numpy(), j) for row, j in zip(received, neighbours, strict=True)]
        requests += [comm.Isend(own.numpy(), j) for j in neighbours]
        MPI.Request.Waitall(requests)
        combine()

    graph = comm.Create_dist_graph_adjacent(neighbours, neighbours)

    def neighbor_allgather() -> None:
        graph.Neighbor_allgather(own.numpy(), received.numpy())
        combine()

    def gloo() -> None:
        operations = [dist.P2POp(dist.irecv, row, j) for row, j in zip(received, neighbours, strict=True)]
        operations += [dist.P2POp(dist.isend, own, j) for j in neighbours]
        for work in dist.batch_isend_irecv(operations):
            work.wait()
        combine()

    def engine(transport: str) -> Callable[[], object]:
        pattern = [[w for w in range(size) if w in {(i - 1) % size, (i + 1) % size} - {i}] for i in range(size)]
        mixing = Mixing(tuple(map(tuple, pattern)), tuple((weight,) * len(row) for row in pattern), (weight,) * size)
        neighbourhood = Neighbourhood(
            World(comm, size), Periodic([mixing]), GossipSettings(transport=transport), Meters()
        )
        exchange = RowExchange(neighbourhood, "rows", parameters, torch.float32, gamma=1.0)
        block = exchange.blocks[0].copy_(own)
        t = 0

        def mix() -> None:
            nonlocal block, t
            block, t = exchange.mix(block, t), t + 1

        return mix

    return {
        "mpidl shared": engine("shared"),
        "mpidl messages": engine("messages"),
        REFERENCE: isend_irecv,
        "Neighbor_allgather": neighbor_allgather,
        "gloo batch_isend_irecv": gloo,
        "allreduce MPI": lambda: comm.Allreduce(own.numpy(), out.numpy()),
        "allreduce gloo": lambda: dist.all_reduce(out),
        "copy": lambda: out.copy_(own),
    }


def rank_main(arguments: argparse.Namespace) -> None:
    import mpi4py

    mpi4py.rc.initialize = False
    mpi4py.rc.finalize = True
    from mpi4py import MPI

    MPI.Init_thread(MPI.THREAD_MULTIPLE)
    import torch
    import torch.distributed as dist

    from mpidl.comm.benchmark import slowest

    torch.set_num_threads(1)
    comm = MPI.COMM_WORLD
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{arguments.port}", rank=comm.rank, world_size=comm.size
    )
    if comm.rank == 0:
        library = MPI.Get_library_version().split(",")[0]
        print(f"\n{comm.size} ranks on {os.cpu_count()} cores, {library}, torch {torch.__version__}, float32, ring")
        print(f"{'millions':>9} {'':24}{'median ms':>10} {'quartiles':>17} {'ratio':>7}  rounds")
    only = [name.strip() for name in arguments.only.split(",") if name.strip()]
    for millions in map(float, arguments.millions.split(",")):
        rounds = contestants(comm, int(millions * 1e6))
        if only:
            rounds = {name: rounds[name] for name in (*only, REFERENCE)}
        times = slowest(comm, rounds, arguments.seconds)
        if comm.rank == 0:
            reference = statistics.median(times[REFERENCE])
            for name, values in times.items():
                low, median, high = (1e3 * quantile for quantile in statistics.quantiles(values, n=4))
                ratio = median / reference / 1e3
                spread = f"{low:.2f}-{high:.2f}"
                print(f"{millions:9g} {name:24}{median:10.2f} {spread:>17} {ratio:7.2f}  {len(values)}", flush=True)
    dist.destroy_process_group()


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
