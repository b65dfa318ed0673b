"""What an exchange allocates: what the formula says, and nothing of a row's size while it runs."""

from __future__ import annotations

import tracemalloc

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mpidl.comm.gossip import messages
from mpidl.comm.gossip.sizes import GATHERED, Cargo, Sizes, exchange_bytes, scratch_elements
from tests.comm.mixing import gossip_of, topologies, world_of
from tests.ranks import on_ranks

PARAMETERS, AGENTS = 20_000, 6
CHUNKED = Sizes(chunk=1024, inside=0, ahead=4, far=3, near=2)


class Allocations(TorchDispatchMode):
    """The memory of every tensor that torch makes, while it lives or not."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        for tensor in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(tensor, torch.Tensor):
                # Kept, so that no address is used twice.
                self.kept.setdefault(tensor.untyped_storage().data_ptr(), tensor.untyped_storage())
        return result

    @property
    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self.kept.values())


@pytest.mark.parametrize("wire", [None, "bfloat16"])
@pytest.mark.parametrize("way", ["shared", "chunks", "letters"])
@pytest.mark.parametrize(("blocks", "readable"), [(2, False), (3, False), (2, True)])
@on_ranks(1, 3)
def test_no_row_is_allocated_beside_what_the_formula_says(comm, way, wire, blocks, readable):
    # The longest rows that travel inside letters are as long as they may be there.
    sizes = Sizes(chunk=1024, inside=4 * PARAMETERS) if way == "letters" else CHUNKED
    chosen = {"transport": "shared" if way == "shared" else "messages", "wire": wire}
    world, topology = world_of(comm, AGENTS), topologies(AGENTS)["irregular"]
    plain, before = Allocations(), set(messages._under_way)
    with plain:
        gossip = gossip_of(world, topology, PARAMETERS, sizes=sizes, **chosen)
        exchange = gossip.exchange("parameters", blocks, readable)
        Z = exchange.present
        for t in range(2):
            Z = exchange.mix(Z, t)
    assert messages._under_way == before
    others = frozenset(world.node_ranks) - {comm.rank}
    formula = exchange_bytes(
        [gossip.neighbourhood.plans.at(0)],
        len(world.mine),
        torch.float32,
        Cargo(PARAMETERS, getattr(torch, wire or "float32"), whole=readable),
        sizes,
        sharing=others if way == "shared" else frozenset(),
        near=others,
        blocks=blocks,
    )
    headers = 64 * 2 * comm.size
    mixing = topology.at(0)
    # A weight for every agent and edge, and where a neighbour's row lies: nothing that grows with the rows.
    weights = (mixing.agents + mixing.messages) * (4 + 8)
    assert formula <= exchange.memory <= formula + headers
    # Blocks are counted by their shape: where they are shared, those of other ranks are mapped here, but not allocated.
    blocks = [*exchange.blocks, *(block for rank in exchange._memory.sharing for block in exchange._memory.of(rank))]
    mapped = {block.untyped_storage().data_ptr() for block in blocks}
    own = sum(block.nbytes for block in exchange.blocks)
    beside = sum(storage.nbytes() for address, storage in plain.kept.items() if address not in mapped)
    assert formula - own <= beside <= formula - own + headers + weights

    later = Allocations()
    tracemalloc.start()
    with later:
        for t in range(2, 6):
            Z = exchange.mix(Z, t)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    new = [storage.nbytes() for address, storage in later.kept.items() if address not in plain.kept]
    assert sum(new) == 0
    assert peak < PARAMETERS
    gossip.close()


def test_rows_are_gathered_in_memory_that_does_not_grow_with_them():
    assert scratch_elements(2, 100, rounded=False, sizes=Sizes()) == 200
    assert scratch_elements(8, 10**6, rounded=False, sizes=Sizes()) == GATHERED
    assert scratch_elements(1, 10**6, rounded=False, sizes=Sizes()) == 0
