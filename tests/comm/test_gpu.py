"""Rows on GPUs: the CPU's numbers, whichever way MPI takes. What it costs is `mpidl bench`'s to say."""

from __future__ import annotations

import pytest
import torch

from mpidl.comm.gossip import routes
from mpidl.comm.gossip.messages import reaches
from mpidl.comm.gossip.sizes import ON_GPU, Sizes
from mpidl.comm.world import World
from tests.comm.mixing import gossip_of, rows, topologies
from tests.gpus import needs_gpu, of_rank
from tests.ranks import on_ranks

pytestmark = needs_gpu
AGENTS = 4


def mixed_on(
    comm,
    device: str,
    parameters: int,
    sizes: Sizes | None = None,
    wire: str | None = None,
    kind: str = "ring",
    rounds: int = 5,
    overlap: bool = False,
) -> torch.Tensor:
    world = World(comm, AGENTS, device)
    chosen = {"transport": "messages", "wire": wire, "overlap": overlap}
    gossip = gossip_of(world, topologies(AGENTS)[kind], parameters, sizes=sizes, **chosen)
    exchange = gossip.exchange("parameters")
    Z = exchange.blocks[0]
    Z.copy_(rows(AGENTS, parameters, torch.float32)[list(world.mine)])
    for t in range(rounds):
        if t % comm.size == comm.rank and world.device.type != "cpu":
            # This rank's GPU falls behind its host and behind the GPUs of the others, by some milliseconds.
            slow = torch.ones(1024, 1024, device=world.device)
            for _ in range(50):
                slow @= slow
        exchange.start(Z, t)
        Z = exchange.finish()
    result = Z.cpu()
    gossip.close()
    world.close()
    return result


@pytest.mark.parametrize("wire", [None, "bfloat16"])
@pytest.mark.parametrize("staged", [False, True], ids=["as probed", "staged"])
@pytest.mark.parametrize("parameters", [100, 3_000_001])
@on_ranks(1, 2, 4)
def test_rows_on_gpus_mix_as_on_cpus(comm, wire, staged, parameters):
    device = of_rank(comm.rank)
    expected = mixed_on(comm, "cpu", parameters, ON_GPU, wire)
    try:
        if staged:
            routes.reaches = lambda *_: False
        found = mixed_on(comm, device, parameters, None, wire)
    finally:
        routes.reaches = reaches
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["periodic", "drawn"])
@pytest.mark.parametrize("overlap", [False, True], ids=["", "overlap"])
@pytest.mark.parametrize("staged", [False, True], ids=["as probed", "staged"])
@on_ranks(2, 4)
def test_a_gpu_that_falls_behind_mixes_no_rounds_up(comm, kind, overlap, staged):
    device = of_rank(comm.rank)
    expected = mixed_on(comm, "cpu", 100_000, ON_GPU, kind=kind, rounds=50)
    try:
        if staged:
            routes.reaches = lambda *_: False
        found = mixed_on(comm, device, 100_000, kind=kind, rounds=50, overlap=overlap)
    finally:
        routes.reaches = reaches
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.full
@on_ranks(2)
def test_25_million_parameters_travel_between_gpus(comm):
    device = of_rank(comm.rank)
    found = mixed_on(comm, device, 25_000_000)
    assert torch.allclose(found, mixed_on(comm, "cpu", 25_000_000), rtol=0, atol=1e-6)
