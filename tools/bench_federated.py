"""The cost of a federated round: many agents per rank, more ranks, many more agents, and a plain loop beside it.

    python tools/bench_federated.py [--seconds 10] [--ranks 1,2] [--model mlp,cnn] [--peer .venv-flower]

Starts itself under mpirun. 100 agents take five local steps of federated averaging in a round, with a batch of 8 each:
a small MLP, or FedDyn's network of 0.8 million parameters. Contestants alternate in short turns, so that a slow moment
of the machine meets everybody. Printed are medians and quartiles of a round, and the ratio of medians:

    gradients    the same 500 gradients and nothing else: what a round must take
    round        100 of 100 agents
    many         100 of 10,000 agents (MLP only), with the memory that this takes beyond 100 of 100
    batched      100 of 100, 16 agents at once (`train.batched`)
    plain        a loop of torch as anybody would write it: a module, torch.optim.SGD, an average of state_dicts

One thread per rank, on the CPU. With several numbers of ranks, the speed-up over the first is told. Beside each stands
the processor time of its slowest rank, which other programs on the machine change less.

With --peer, Flower's simulation does the same task after each, on as many cores as ranks, from an environment
of that name, into which flwr and torch are installed from PyPI if it is not there.
"""

from __future__ import annotations

import argparse
import copy
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
PEER = "flwr[simulation]==1.42.0"
AGENTS, MANY, STEPS, BATCH, LR = 100, 10_000, 5, 8, 0.01
MODELS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "mlp": ({"name": "mlp", "hidden": [32]}, (64,)),
    "cnn": ({"name": "feddyn-cnn"}, (3, 32, 32)),
}


def composed(model: str, agents: int, comm: Any, batched: bool = False) -> Any:
    from mpidl import config as reading
    from mpidl.experiment import Config
    from mpidl.experiment.compose import compose

    network, shape = MODELS[model]
    data = {"name": "bench_steps:images", "shape": list(shape), "examples": STEPS * BATCH * agents, "batch": BATCH}
    algorithm = {"name": "fedavg", "lr": LR, "local_steps": STEPS, "participation": AGENTS / agents}
    keys = {
        "agents": agents,
        "model": network,
        "data": data,
        "algorithm": algorithm,
        "train": {"rounds": 10**9, "device": "cpu", "batched": batched},
        "evaluate": {"every": 10**8},
    }
    return compose(reading.validate(Config, keys), comm)


def gradients_alone(run: Any) -> Callable[[], None]:
    """The gradients of a round of all agents of this rank, each on a new batch."""
    import torch

    algorithm, row = run.training.algorithm, run.rows.flatten()
    # Batches of rounds that the contestants never reach: what one of them has drawn, another would find.
    out, turn = torch.empty_like(row), iter(range(10**6, 10**9))

    def play() -> None:
        t = next(turn)
        for agent in algorithm.agents:
            for step in range(t * STEPS, (t + 1) * STEPS):
                algorithm.oracle([agent], [row], [step], [out])

    return play


def plain_loop(model: str) -> Callable[[], None]:
    """Federated averaging by hand, of all agents on one process."""
    import torch
    from bench_steps import images

    from mpidl.models import MODELS as REGISTRY

    network, shape = MODELS[model]
    data = images(list(shape), STEPS * BATCH * AGENTS)
    x, y = torch.as_tensor(data.x), torch.as_tensor(data.y)
    shares = torch.randperm(len(x)).split(STEPS * BATCH)
    server = REGISTRY.parse(network).build(shape, 10)
    client = copy.deepcopy(server)

    def play() -> None:
        start = server.state_dict()
        mean = {name: torch.zeros_like(value) for name, value in start.items()}
        for share in shares:
            client.load_state_dict(start)
            optimizer = torch.optim.SGD(client.parameters(), lr=LR)
            for batch in share[torch.randperm(len(share))].split(BATCH):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(client(x[batch]), y[batch]).backward()
                optimizer.step()
            for name, value in client.state_dict().items():
                mean[name] += value / len(shares)
        server.load_state_dict(mean)

    return play


def peer_rounds(environment: Path, model: str, rounds: int, cores: int) -> list[float]:
    """Seconds of rounds of Flower's simulation, from its environment, which is made where there is none."""
    python = environment / "bin" / "python"
    if not python.exists():
        print(f"installing {PEER} and torch into {environment}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-c", str(ROOT / "tools" / "constraints.txt"), "torch"], check=True)
        subprocess.run([*install, PEER], check=True)
    program = [str(python), str(ROOT / "tools" / "bench_federated_peer.py"), model]
    quiet = {
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": "",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [*program, "--rounds", str(rounds), "--cores", str(cores)],
        env=os.environ | quiet,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def counting(play: Callable[[], None], seconds: list[float]) -> Callable[[], None]:
    """The same, of which each call adds its processor time to `seconds`."""

    def counted() -> None:
        begin = time.process_time()
        play()
        seconds.append(time.process_time() - begin)

    return counted


def resident() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def rank_main(arguments: argparse.Namespace) -> None:
    import torch

    from mpidl.comm.benchmark import slowest
    from mpidl.comm.start import startup

    comm = startup.start("cpu", 1)
    told: dict[str, dict[str, float]] = {}
    for model in arguments.model.split(","):
        runs = {"round": composed(model, AGENTS, comm)}
        plays = {"gradients": gradients_alone(runs["round"])}
        if model == "mlp":
            before = resident()
            runs["many"] = composed(model, MANY, comm)
            plays["many"] = runs["many"].training.run_round
            for _ in range(20):
                plays["many"]()
            data = MANY * STEPS * BATCH * (MODELS[model][1][0] * 4 + 8)
            grown = resident() - before
            if comm.rank == 0:
                print(f"{MANY} agents: {grown / 2**20:.0f} MiB more, of which data {data / 2**20:.0f} MiB", flush=True)
        runs["batched"] = composed(model, AGENTS, comm, batched=True)
        plays |= {name: run.training.run_round for name, run in runs.items()}
        if comm.size == 1:
            plays["plain"] = plain_loop(model)
        processor: dict[str, list[float]] = {name: [] for name in plays}
        timed = {name: counting(play, processor[name]) for name, play in plays.items()}
        times = slowest(comm, timed, arguments.seconds)
        of_ranks = comm.gather({name: statistics.median(values) for name, values in processor.items()})
        parameters = runs["round"].rows.size
        for run in runs.values():
            run.close()
        if comm.rank == 0:
            alone = statistics.median(times["gradients"])
            busy = {name: max(of_rank[name] for of_rank in of_ranks) for name in times}
            print(f"\n{model}, {parameters} parameters, ranks: {comm.size}, torch {torch.__version__}")
            print(f"{'':12}{'median ms':>10}{'quartiles':>20}{'ratio':>8}{'processor':>12}{'ratio':>8}   turns")
            for name, values in times.items():
                low, median, high = (1e3 * quantile for quantile in statistics.quantiles(values, n=4))
                spread, ratio = f"{low:.1f} to {high:.1f}", median / alone / 1e3
                of_processor = f"{1e3 * busy[name]:12.1f}{busy[name] / busy['gradients']:8.2f}"
                print(f"{name:12}{median:10.1f}{spread:>20}{ratio:8.2f}{of_processor}   {len(values)}", flush=True)
            told[model] = {name: statistics.median(values) for name, values in times.items()}
    if comm.rank == 0:
        Path(arguments.into).write_text(json.dumps(told), encoding="utf-8")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each model and number of ranks")
    parser.add_argument("--ranks", default="1,2", help="numbers of ranks")
    parser.add_argument("--model", default="mlp,cnn", help="mlp, cnn")
    parser.add_argument("--peer", type=Path, help="folder of an environment with Flower, made where there is none")
    parser.add_argument("--peer-rounds", type=int, default=8, help="of Flower, of which the first two are not timed")
    parser.add_argument("--into", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


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
    told: dict[int, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for ranks in map(int, arguments.ranks.split(",")):
            into = Path(folder) / f"{ranks}.json"
            begin = time.perf_counter()
            code = Launch(ranks, [sys.executable, __file__, *sys.argv[1:], "--into", str(into)]).run()
            if code:
                sys.exit(code)
            told[ranks] = json.loads(into.read_text(encoding="utf-8"))
            print(f"(ranks: {ranks}, {time.perf_counter() - begin:.0f} s)", flush=True)
            for model, times in told[ranks].items() if arguments.peer else ():
                seconds = statistics.median(peer_rounds(arguments.peer, model, arguments.peer_rounds, ranks))
                plain = f", {seconds / times['plain']:.1f} times plain" if "plain" in times else ""
                ratio = seconds / times["round"]
                print(f"{model}, Flower, cores: {ranks}: {1e3 * seconds:.0f} ms, {ratio:.1f} times a round{plain}")
    first, *more = told
    for ranks in more:
        for model, times in told[ranks].items():
            for name in ("gradients", "round"):
                faster = told[first][model][name] / times[name]
                print(f"{model}, {name}: {faster:.2f} times faster on {ranks} ranks than on {first}")


if __name__ == "__main__":
    main()
