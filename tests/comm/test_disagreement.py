"""Ranks that do not mean the same: an error that names both sides, before or at the first wrong message."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from mpidl.comm.gossip import messages
from mpidl.comm.gossip.handshake import Header
from mpidl.comm.gossip.sizes import HEADER_BYTES, Cargo, Sizes
from mpidl.errors import CommunicationError
from mpidl.graphs.base import Drawn, Mixing
from tests.comm.mixing import LARGE, SMALL, gossip_of, random_matrix, ring_matrix, static, world_of
from tests.ranks import on_ranks


def start(comm, topology=None, parameters=100, dtype=torch.float32, agents=6, sizes=SMALL, **settings):
    topology = topology or static(ring_matrix(agents))
    gossip = gossip_of(world_of(comm, agents), topology, parameters, dtype, sizes, **settings)
    return gossip.exchange("parameters")


DIFFERENCES = {
    "parameters": ({"parameters": 101}, "length 100 on the one, length 101 on the other"),
    "dtype": ({"dtype": torch.float64}, "dtype float32 on the one, dtype float64 on"),
    "graph": ({"topology": static(random_matrix(6, 0.5, 1))}, "graph [0-9a-f]{16} on the one, graph [0-9a-f]{16} on"),
    "wire": ({"wire": "float16"}, "wire=None.* on the one, .*wire='float16'"),
    "gamma": ({"scheme": {"name": "exact", "gamma": 0.5}}, "gamma=1.0.* on the one, .*gamma=0.5"),
}


@pytest.mark.parametrize("what", sorted(DIFFERENCES))
@on_ranks(3)
def test_a_different_setting_on_one_rank_is_an_error_on_all(comm, what):
    changed, told = DIFFERENCES[what]
    with pytest.raises(CommunicationError, match=f"rank 0 on .* and rank 2 on .* disagree.*{told}"):
        start(comm, **(changed if comm.rank == 2 else {}))


@pytest.mark.parametrize("transport", ["messages", "shared"])
@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["inside letters", "in chunks"])
@on_ranks(2)
def test_another_round_is_never_mixed(comm, transport, sizes):
    exchange = start(comm, transport=transport, sizes=sizes)
    Z = exchange.mix(exchange.blocks[0], 0)
    before = set(messages._under_way)
    here, there = (5, 6) if comm.rank == 0 else (6, 5)
    with pytest.raises(CommunicationError, match=f"rank {1 - comm.rank} and rank {comm.rank} disagree: round {there}"):
        exchange.mix(Z, here)
    # What MPI may still read and write is kept, though nobody here knows of it any longer: chunks of long rows. Of
    # short ones nothing is under way any more when letters are looked at.
    abandoned = weakref.ref(exchange._turns._routes)
    del exchange, Z
    gc.collect()
    assert abandoned() is None
    chunks_under_way = transport == "messages" and sizes == LARGE
    assert messages._under_way > before if chunks_under_way else messages._under_way == before


@on_ranks(2)
def test_a_random_graph_that_ranks_draw_differently_is_found_at_its_first_round(comm):
    def at(t: int) -> Mixing:
        # The same neighbours with other weights: nothing but the digest can tell.
        matrix = ring_matrix(6)
        return Mixing.from_dense(matrix if t == 0 or comm.rank == 0 else 0.5 * (matrix + np.eye(6)))

    exchange = start(comm, topology=Drawn(6, at, False))
    Z = exchange.mix(exchange.blocks[0], 0)
    with pytest.raises(CommunicationError, match="disagree: graph [0-9a-f]{16} there, graph [0-9a-f]{16} here"):
        exchange.mix(Z, 1)


@pytest.mark.parametrize("sizes", [SMALL, Sizes(inside=0)], ids=["inside letters", "beside letters"])
@on_ranks(2)
def test_letters_about_more_or_fewer_rows_than_are_awaited_are_explained(comm, sizes):
    def at(t: int) -> Mixing:
        few = np.eye(6)
        few[0, 3] = few[3, 0] = few[0, 0] = few[3, 3] = 0.5
        return Mixing.from_dense(few if comm.rank == 0 and t == 1 else np.full((6, 6), 1 / 6))

    exchange = start(comm, topology=Drawn(6, at, False), sizes=sizes, transport="messages")
    Z = exchange.mix(exchange.blocks[0], 0)
    with pytest.raises(CommunicationError, match=f"rank {1 - comm.rank} and rank {comm.rank} disagree: rows"):
        exchange.mix(Z, 1)


@on_ranks(3)
def test_what_never_arrived_is_not_taken_for_a_disagreement(comm):
    exchange = start(comm, agents=3, topology=static(ring_matrix(3)), transport="messages")
    Z = exchange.blocks[0]
    for t in range(2):
        Z = exchange.mix(Z, t)
    plan = exchange._turns._plans.at(2)
    letters = exchange._turns._routes.next(plan, exchange._roles.turn(Z)[0]).letters
    header = Header(0, 2, 2, 100, "float32", plan.mixing.digest, Cargo(100, torch.float32).digest, 0)
    first, second = letters.incoming
    for letter in (first, second):
        letter.head[:] = bytes(HEADER_BYTES)
    broken = CommunicationError("a message between two ranks failed: no more")
    assert str(letters.explain(broken, header, "parameters")) == (
        f"exchange 'parameters': a message between two ranks failed: no more; rank {comm.rank} has heard nothing from "
        f"rank {first.rank}, {second.rank}"
    )
    # Where one letter did arrive, and is wrong, it is to blame, not the one that is late.
    second.head[:] = header._replace(turn=7).pack(second.rank, second.rows)
    told = str(letters.explain(broken, header, "parameters"))
    assert told.startswith(f"exchange 'parameters': rank {second.rank} and rank {comm.rank} disagree: turn 7 there")


HEADER = Header(exchange=1, turn=2, round=3, length=4, dtype="bfloat16", graph=b"12345678", format=bytes(8), block=1)


def test_a_header_tells_what_it_was_given():
    packed = HEADER.pack(sender=7, rows=9)
    assert len(packed) == HEADER_BYTES
    assert HEADER.check(packed, sender=7, rows=9, receiver=0, name="x") == 1


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (b"GET / HTTP" + bytes(60), "no message of mpidl's .it begins with b'GET '"),
        (HEADER.pack(7, 9)[:4] + b"\xff" + HEADER.pack(7, 9)[5:], "versions 255 and 2"),
        (HEADER.pack(6, 9), "sender 6 there, sender 7 here"),
        (HEADER.pack(7, 8), "rows 8 there, rows 9 here"),
        (bytes(HEADER_BYTES), "no message of mpidl's"),
    ],
)
def test_what_is_wrong_with_a_header_is_named(changed, told):
    with pytest.raises(CommunicationError, match=f"exchange 'x': rank 7 and rank 0 disagree: .*{told}"):
        HEADER.check(changed[:HEADER_BYTES], sender=7, rows=9, receiver=0, name="x")
