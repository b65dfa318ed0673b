"""How long exchanges take on the ranks at hand: mixing over graphs, allreduce, and the copy of a row beside them."""

from __future__ import annotations

import logging
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from mpi4py import MPI

from mpidl.comm.gossip.gossip import Gossip
from mpidl.comm.gossip.messages import buffer
from mpidl.comm.gossip.neighbourhood import Neighbourhood
from mpidl.comm.gossip.settings import GossipSettings
from mpidl.comm.meters import Meters
from mpidl.comm.reduce import Reducer
from mpidl.comm.world import World
from mpidl.graphs.base import Topology
from mpidl.layout import Layout
from mpidl.state import State

log = logging.getLogger("mpidl.comm")

LEAST_ROUNDS = 5
_WARM_UP = 3

Play = TypeVar("Play")


@dataclass(frozen=True)
class Measurement:
    """Quartiles of the slowest rank's seconds.

    `what` is `mix`, `allreduce` (MPI's), `sum` (the same in the fixed order of deterministic runs), `copy`, or on a GPU
    `staging`, a row's way to pageable memory of the host and back; `bytes` are of rows that reach a rank: one from each
    neighbour of the agent that has most, the sum, or the copy.
    """

    what: str
    graph: str
    transport: str
    """As it was asked for, and in `travelled` as it was."""
    travelled: str
    ranks: int
    parameters: int
    rounds: int
    low: float
    median: float
    high: float
    bytes: int
    copies: float
    """The median by that of copying a row of this length on all ranks at once: what memory allows sets the scale."""

    @property
    def bandwidth(self) -> float:
        """Bytes per second that reach a rank."""
        return self.bytes / self.median


def slowest(comm: MPI.Intracomm, plays: Mapping[Play, Callable[[], object]], seconds: float) -> dict[Play, list[float]]:
    """Seconds of the slowest rank from a barrier on, for each play again and again until the time is over.

    Their order is drawn anew each time, and before each a round of the same that is not timed: what another play has
    left behind, in caches or as threads that wind down, is nobody's cost.
    """
    for _ in range(_WARM_UP):
        for play in plays.values():
            play()
    times: dict[Play, list[float]] = {name: [] for name in plays}
    order = random.Random(0)
    end = time.perf_counter() + seconds
    while comm.bcast(time.perf_counter() < end or len(next(iter(times.values()))) < LEAST_ROUNDS):
        for name in order.sample(list(plays), len(plays)):
            plays[name]()
            comm.Barrier()
            begin = time.perf_counter()
            plays[name]()
            times[name].append(comm.allreduce(time.perf_counter() - begin, MPI.MAX))
    return times


def measure(
    world: World,
    graphs: Mapping[str, Topology],
    sizes: Sequence[int],
    transports: Sequence[str],
    seconds: float,
) -> Iterator[Measurement]:
    """Float32 rows, one agent per rank; `seconds` for each size. All ranks get the same measurements."""
    for parameters in sizes:
        source = torch.ones(parameters, device=world.device)
        target = torch.empty_like(source)
        plays: dict[tuple[str, str, str], Callable[[], object]] = {("copy", "", ""): partial(target.copy_, source)}
        if world.device.type == "cpu":
            sent, received = ((buffer(row)[0], MPI.FLOAT) for row in (source, target))
            plays["allreduce", "", "MPI"] = partial(world.comm.Allreduce, sent, received)
        else:
            plays["staging", "", ""] = partial(_by_the_host, source, target)
        plays["sum", "", ""] = _summing(Reducer(world, parameters, source.dtype), target)
        gossips = []
        travelled, warnings = {("", "MPI"): "", ("", ""): ""}, [world.warning] if world.warning else []
        for name, topology in graphs.items():
            for transport in transports:
                neighbourhood = Neighbourhood(world, topology, GossipSettings(transport=transport), Meters())
                state = State(world.mine, world.agents, parameters, torch.float32, world.device)
                gossip = Gossip(neighbourhood, state, Layout(("row",), ((parameters,),)), seed=0)
                gossips.append(gossip)
                plays["mix", name, transport] = _mixing(gossip)
                travelled[name, transport] = gossip.transports()["parameters"]
                warnings += gossip.warnings()
        plays = {key: _settled(play, world.device) for key, play in plays.items()}
        seconds_by_play = slowest(world.comm, plays, seconds)
        if world.rank == 0:
            for warning in dict.fromkeys(warnings):
                log.warning("%s", warning)
        copy = statistics.median(seconds_by_play["copy", "", ""])
        for (what, name, transport), times in seconds_by_play.items():
            rows = max(map(len, graphs[name].at(0).neighbours)) if what == "mix" else 1
            low, median, high = statistics.quantiles(times, n=4)
            yield Measurement(
                what=what,
                graph=name,
                transport=transport,
                travelled=travelled[name, transport],
                ranks=world.size,
                parameters=parameters,
                rounds=len(times),
                low=low,
                median=median,
                high=high,
                bytes=rows * source.nbytes,
                copies=median / copy,
            )
        plays.clear()
        for gossip in gossips:
            gossip.close()


def _mixing(gossip: Gossip) -> Callable[[], object]:
    """Rounds of an exchange, one at each call."""
    exchange = gossip.exchange("parameters")
    block, t = exchange.blocks[0], 0

    def mix() -> None:
        nonlocal block, t
        block, t = exchange.mix(block, t), t + 1

    return mix


def _summing(reducer: Reducer, target: torch.Tensor) -> Callable[[], object]:
    """Sums of one row from each rank, from where a run's algorithm has it."""
    owners, rank, source = tuple(range(reducer.world.size)), reducer.world.rank, reducer.memory().fill_(1.0)
    return lambda: reducer.sum([(rank, source)], len(owners), owners, out=target)


def _by_the_host(source: torch.Tensor, target: torch.Tensor) -> None:
    target.copy_(source.cpu())


def _settled(play: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The same, and on a GPU until it is done."""
    if device.type == "cpu":
        return play

    def settled() -> None:
        play()
        torch.accelerator.synchronize(device)

    return settled
