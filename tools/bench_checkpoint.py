"""What a checkpoint costs: how long training stands still, and how fast it is written, beside what both take at least.

    python tools/bench_checkpoint.py [--ranks 4] [--millions 25] [--rows 1] [--checkpoints 8] [--folder .]

Starts itself under mpirun. Every rank holds one agent, with `--rows` rows of float32. In each turn all ranks copy their
rows into memory that they have used before, then make a checkpoint as a run does: the stall is from a barrier until
training would go on, of the slowest rank. Nothing else is done until the checkpoint is complete, and then dd writes as
many bytes to the same disk, with fsync. Printed are the medians and quartiles over the turns.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--millions", type=float, default=25.0, help="parameters of an agent, in millions")
    parser.add_argument("--rows", type=int, default=1, help="rows of state, as 2 with momentum")
    parser.add_argument("--checkpoints", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk that is to be measured")
    return parser.parse_args()


def measure(chosen: argparse.Namespace) -> None:
    """One rank's part."""
    import torch

    from mpidl.comm.start import startup
    from mpidl.comm.world import World
    from mpidl.results.checkpoints.folder import CheckpointFolder
    from mpidl.results.checkpoints.index import Facts
    from mpidl.state import State
    from mpidl.training.checkpoint_writer import CheckpointWriter

    comm = startup.start("cpu", 1)
    world = World(comm, comm.size)
    parameters = int(1e6 * chosen.millions)
    state = State(world.mine, world.agents, parameters, torch.float32, "cpu")
    blocks = [state.rows(f"row {number}").normal_() for number in range(chosen.rows)]
    copies = [block.clone() for block in blocks]
    place = Path(comm.bcast(tempfile.mkdtemp(prefix="bench-", dir=chosen.folder) if comm.rank == 0 else None))
    run_file = place / "run.h5"
    run_file.touch()
    writer = CheckpointWriter(state, world, CheckpointFolder(run_file), run_file, keep=1)
    writer.allocate()
    copying, stalls, writing, disk = ([] for _ in range(4))
    for number in range(chosen.checkpoints + 1):
        comm.Barrier()
        begin = time.perf_counter()
        for copy, block in zip(copies, blocks, strict=True):
            copy.copy_(block)
        copied = time.perf_counter() - begin
        comm.Barrier()
        begin = time.perf_counter()
        writer.begin(Facts(number + 1, 100, 0.0, world.agents, "{}", {}, {}), apart=True)
        stalled = time.perf_counter() - begin
        writer.conclude()
        comm.Barrier()
        written = time.perf_counter() - begin
        if comm.rank == 0 and writer.unsaved is not None:
            raise writer.unsaved
        size = comm.size * chosen.rows * parameters * 4
        dd = time.perf_counter()
        if comm.rank == 0:
            target = place / "dd"
            words = ["dd", "if=/dev/zero", f"of={target}", "bs=4M", f"count={size >> 22}", "conv=fsync", "status=none"]
            subprocess.run(words, check=True)
        took = time.perf_counter() - dd
        comm.Barrier()
        if comm.rank == 0:
            target.unlink()
        if number:
            # The first one finds memory and disk in another state than those that follow.
            for values, value in ((copying, copied), (stalls, stalled), (writing, written), (disk, took)):
                values.append(max(comm.allgather(value)))
    if comm.rank == 0:
        CheckpointFolder(run_file).clear()
        run_file.unlink()
        place.rmdir()
        megabytes = size / 1e6
        print(f"{comm.size} ranks, {chosen.rows} rows of {parameters:,} float32 each: {megabytes:.0f} MB a checkpoint")
        tell("copying the rows", [1e3 * each for each in copying], "ms")
        tell("stall of a checkpoint", [1e3 * each for each in stalls], "ms")
        tell("  in copies", [stall / copy for stall, copy in zip(stalls, copying, strict=True)], "")
        tell("writing a checkpoint", [megabytes / each for each in writing], "MB/s")
        tell("dd with fsync", [megabytes / each for each in disk], "MB/s")
        tell("  ratio of rates", [dd / mine for dd, mine in zip(disk, writing, strict=True)], "")


def tell(what: str, values: list[float], units: str) -> None:
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    print(f"{what:24}{middle:10.2f} {units:5} ({low:.2f} to {high:.2f})", flush=True)


def main() -> None:
    from mpidl.comm.start.failures import guard
    from mpidl.launch.process import Launch
    from mpidl.launch.surroundings import is_rank

    chosen = options()
    if is_rank():
        with guard():
            measure(chosen)
    else:
        sys.exit(Launch(chosen.ranks, [sys.executable, __file__, *sys.argv[1:]]).run())


if __name__ == "__main__":
    main()
