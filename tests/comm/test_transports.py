"""How rows travel: shared memory, messages, both; what is chosen, and that nothing is left behind."""

from __future__ import annotations

import errno
import os
import re
import time
from pathlib import Path
from unittest import mock

import pytest
import torch

from mpidl import makers
from mpidl.comm import sharing
from mpidl.comm.gossip import routes, streams
from mpidl.comm.gossip.messages import reaches
from mpidl.comm.gossip.sizes import Sizes
from mpidl.errors import CommunicationError, ConfigError
from tests.comm.mixing import LARGE, SMALL, dense, gossip_of, mixed, ring_matrix, rows, static, topologies, world_of
from tests.ranks import on_ranks


def memory_in(folder: Path):
    """Shared memory lies there meanwhile; in /dev/shm others make files, and remove them, too."""
    return mock.patch.object(sharing, "FOLDER", folder)


def exchange_of(comm, transport: str = "auto", node_ranks: tuple[int, ...] | None = None):
    world = world_of(comm, comm.size)
    world.node_ranks = node_ranks or world.node_ranks
    topology = static(ring_matrix(comm.size))
    gossip = gossip_of(world, topology, 50, transport=transport)
    return gossip, gossip.exchange("parameters")


@on_ranks(1, 2, 4)
def test_ranks_of_one_node_share_memory_unless_told_otherwise(comm):
    one = "none, one rank"
    for transport, chosen in (("auto", "shared memory"), ("shared", "shared memory"), ("messages", "messages")):
        gossip, exchange = exchange_of(comm, transport)
        assert exchange.transport == (chosen if comm.size > 1 else one)
        gossip.close()


@pytest.mark.parametrize("kind", ["irregular", "directed", "periodic", "drawn"])
@on_ranks(3, 4)
def test_two_nodes_of_shared_memory_with_messages_between_give_the_same_bits(comm, kind):
    nodes = [(0, 1), (2, 3)][: (comm.size + 1) // 2] if comm.size == 4 else [(0, 2), (1,)]
    agents = 7
    topology, start = topologies(agents)[kind], rows(agents, 300)
    expected = mixed(world_of(comm, agents), topology, start, 6, transport="messages")
    for sizes in (SMALL, LARGE):
        world = world_of(comm, agents)
        world.node_ranks = next(ranks for ranks in nodes if comm.rank in ranks)
        assert torch.equal(mixed(world, topology, start, 6, sizes=sizes), expected)


@on_ranks(4)
def test_names_are_gone_from_the_file_system_once_memory_is_mapped(comm, tmp_path):
    with memory_in(tmp_path):
        gossip, exchange = exchange_of(comm, "shared")
    assert exchange.transport == "shared memory"
    comm.Barrier()
    assert not list(tmp_path.iterdir())
    gossip.close()


@pytest.mark.parametrize(("call", "why"), [("posix_fallocate", "has no room"), ("ftruncate", "cannot be used")])
@on_ranks(3)
def test_without_room_on_one_rank_all_of_its_node_send_messages_and_one_says_why(call, why, comm, tmp_path):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with memory_in(tmp_path), mock.patch.object(os, call, full if comm.rank == 1 else getattr(os, call)):
        gossip, exchange = exchange_of(comm)
        assert exchange.transport == "messages"
        assert gossip.transports() == {"parameters": "messages"}
        (warning,) = gossip.warnings()
        assert f"rows go as messages, not through shared memory: rank 1: {tmp_path} {why}" in warning
        gossip.close()
        sentence = f"gossip.transport: 'shared' is not possible on .*: rank 1: {re.escape(str(tmp_path))}"
        with pytest.raises(ConfigError, match=sentence):
            exchange_of(comm, "shared")
        # Nodes decide for themselves: rank 1 alone on its node leaves ranks 0 and 2 their memory.
        gossip, exchange = exchange_of(comm, "auto", (1,) if comm.rank == 1 else (0, 2))
        assert exchange.transport == ("messages" if comm.rank == 1 else "shared memory and messages")
        assert gossip.transports() == {"parameters": "shared memory and messages, messages"}
        gossip.close()
    comm.Barrier()
    assert not list(tmp_path.iterdir())


@on_ranks(2)
def test_memory_that_cannot_be_made_or_mapped_is_named(comm):
    with (
        memory_in(Path("/nowhere") if comm.rank == 1 else sharing.FOLDER),
        pytest.raises(ConfigError, match="rank 1: /nowhere cannot be used: No such file"),
    ):
        exchange_of(comm, "shared")


@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["inside letters", "in chunks"])
@on_ranks(2, 4)
def test_messages_move_while_the_caller_computes(comm, sizes):
    agents = 5
    topology, start = topologies(agents)["irregular"], rows(agents, 1000)
    found = mixed(world_of(comm, agents), topology, start, 20, sizes=sizes, transport="messages", overlap=True)
    assert torch.allclose(found, dense(topology, start, 20), rtol=0, atol=1e-13)


@pytest.mark.parametrize("wire", [None, "bfloat16"])
@on_ranks(2, 3)
def test_staging_through_host_memory_gives_the_same_bits(comm, wire):
    """What a GPU does that MPI does not reach, with host memory for the GPU's: every chunk by way of a place."""
    topology, start = topologies(5)["irregular"], rows(5, 1000, torch.float32)
    direct = mixed(world_of(comm, 5), topology, start, 5, sizes=LARGE, transport="messages", wire=wire)
    reaches, host = routes.reaches, streams.HOST
    try:
        routes.reaches, streams.HOST = lambda *_: False, {}
        staged = mixed(world_of(comm, 5), topology, start, 5, sizes=LARGE, transport="messages", wire=wire)
    finally:
        routes.reaches, streams.HOST = reaches, host
    assert torch.equal(staged, direct)


@on_ranks(2)
def test_overlap_completes_without_the_caller(comm):
    topology, start = static(ring_matrix(2)), rows(2, 100_000)
    chosen = {"transport": "messages", "overlap": True}
    gossip = gossip_of(world_of(comm, 2), topology, 100_000, torch.float64, LARGE, **chosen)
    exchange = gossip.exchange("parameters")
    Z = exchange.blocks[0].copy_(start[[comm.rank]])
    for t in (0, 1):
        expected, other = dense(topology, start, t + 1)[[comm.rank]], exchange.blocks[1 - t]
        exchange.start(Z, t)
        end = time.monotonic() + 30
        # Nobody calls MPI here until the other block is complete.
        while not torch.allclose(other, expected) and time.monotonic() < end:
            time.sleep(0.01)
        assert torch.allclose(other, expected)
        Z = exchange.finish()
        assert Z is other
    gossip.close()


@on_ranks(2)
def test_an_error_while_the_caller_computes_reaches_it(comm):
    chosen = {"transport": "messages", "overlap": True}
    gossip = gossip_of(world_of(comm, 2), static(ring_matrix(2)), 10, torch.float64, **chosen)
    exchange = gossip.exchange("parameters")
    exchange.start(exchange.blocks[0], comm.rank)
    with pytest.raises(CommunicationError, match=f"round {1 - comm.rank} there, round {comm.rank} here"):
        exchange.finish()


@on_ranks(2)
def test_an_error_after_turns_that_worked_reaches_the_caller_too(comm):
    chosen = {"transport": "messages", "overlap": True}
    gossip = gossip_of(world_of(comm, 2), static(ring_matrix(2)), 10, torch.float64, **chosen)
    exchange = gossip.exchange("parameters")
    Z = exchange.blocks[0]
    for t in range(3):
        Z = exchange.mix(Z, t)
    exchange.start(Z, 3 + comm.rank)
    with pytest.raises(CommunicationError, match=f"round {4 - comm.rank} there, round {3 + comm.rank} here"):
        exchange.finish()


@pytest.mark.parametrize("wire", ["bfloat16", "float16"])
@on_ranks(2)
def test_a_rounded_chunk_is_overwritten_only_when_it_has_been_sent(comm, wire):
    """Chunks that MPI sends only once the receiver is ready, through a ring much shorter than the row."""
    topology, start = static(ring_matrix(2)), rows(2, 40 * 65_536, torch.float32)
    rings = Sizes(chunk=65_536, inside=0, ahead=2, far=2, near=2)
    whole = Sizes(chunk=40 * 65_536, inside=0)
    found = mixed(world_of(comm, 2), topology, start, 4, sizes=rings, transport="messages", wire=wire)
    assert torch.equal(
        found, mixed(world_of(comm, 2), topology, start, 4, sizes=whole, transport="messages", wire=wire)
    )


@on_ranks(2)
def test_an_mpi_that_knows_other_makers_gpus_alone_is_not_handed_the_memory_of_this_one(comm):
    for maker in makers.MAKERS:
        with (
            mock.patch.object(makers, "torch_build", lambda maker=maker: makers.Build(maker, "1")),
            mock.patch.object(makers.Maker, "claimed", lambda asked, *_, maker=maker: asked is not maker),
        ):
            # It would fail where there is none, if any were taken.
            assert not reaches(comm, torch.device(maker.device, 0))
    assert reaches(comm, torch.device("cpu"))
