"""Rounds with ranks held up at random: `soak`, and `python -m tests.comm.soaking ROUNDS KIND…` on ranks of its own."""

from __future__ import annotations

import sys
import time

import numpy as np
import torch

from tests.comm.mixing import LARGE, SMALL, gossip_of, topologies, world_of

AGENTS, PARAMETERS = 6, 200
WAYS = {
    "shared memory": ({"transport": "shared"}, SMALL, None),
    "letters": ({"transport": "messages"}, SMALL, None),
    "chunks": ({"transport": "messages"}, LARGE, None),
    "two nodes": ({}, LARGE, [(0, 1), (2, 3)]),
    "overlap": ({"transport": "messages", "overlap": True}, LARGE, None),
}


def soak(comm, kind: str, way: str, rounds: int, blocks: int = 2) -> None:
    """Every agent's row tells who wrote it and when, so that a single row of another round shows in the sum."""
    chosen, sizes, nodes = WAYS[way]
    topology, world = topologies(AGENTS)[kind], world_of(comm, AGENTS)
    if nodes:
        world.node_ranks = next(ranks for ranks in nodes if comm.rank in ranks)
    gossip = gossip_of(world, topology, PARAMETERS, torch.float64, sizes, **chosen)
    delays = np.random.default_rng(comm.rank)
    mine = list(world.mine)
    exchange = gossip.exchange("parameters", blocks)

    def held_up() -> None:
        if delays.random() < 0.01:
            time.sleep(delays.exponential(0.002))

    for t in range(rounds):
        written = 1000.0 * t + np.arange(AGENTS)
        drafted = blocks == 3 and delays.random() < 0.5
        before, Z = exchange.present.clone(), exchange.draft if drafted else exchange.present
        Z.copy_(torch.from_numpy(written[mine])[:, None].expand(-1, PARAMETERS))
        held_up()
        exchange.start(Z, t)
        held_up()
        old, Z = exchange.present, exchange.finish()
        held_up()
        assert not drafted or torch.equal(old, before), f"round {t}"
        expected = torch.from_numpy((topology.at(t).dense() @ written)[mine])[:, None].expand(-1, PARAMETERS)
        assert torch.allclose(Z, expected, rtol=1e-12, atol=1e-9), f"round {t}"
    gossip.close()


def main(rounds: int, kinds: list[str]) -> None:
    from mpidl.comm.start import startup

    comm = startup.start("cpu", 1)
    for kind in kinds:
        for way in WAYS:
            soak(comm, kind, way, rounds)
            if comm.rank == 0:
                print(f"{rounds} rounds of {kind} by {way}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
