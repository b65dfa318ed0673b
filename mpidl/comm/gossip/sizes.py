"""How rows are cut for their way, which decides speed and memory and never results, and the memory that it takes.

What an exchange of whole rows takes on a rank, by a formula; the tests hold it against what is allocated:

    blocks, each row up to where the next may begin      b k ⌈P s⌉
    arriving rows, in rings of chunks                    r min(ring, chunks) C w    (twice where a GPU needs staging)
    leaving rows, only where they must be rounded        l min(ahead, chunks) C w
    rounding while summing, only on a narrower wire      C (s + w)
    letters, each with a header and rows up to `inside`  Σ (64 + rows P w)

b blocks, two or three; k agents of P parameters of s bytes, ⌈ ⌉ to a multiple of 64, w bytes each on the wire, C
elements a chunk; r and l count rows that come and go by messages, each once a rank. With shared memory r = l = 0, and
with rows that travel as they are the third line is 0 too: nothing of a row's size is kept but the blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from mpidl.comm.gossip.plan import Link, Plan


HEADER_BYTES = 64
"""Bytes in front of every letter between two ranks."""


@dataclass(frozen=True)
class Sizes:
    """The defaults are those measured to be fastest on a node of two cores, with Open MPI 5 between the ranks.

    A chunk must be a multiple of 64 elements: then an element's place in its vector register, and with it the rounding
    of multiply-add, is the same however long chunks are.
    """

    chunk: int = 256 * 1024
    """Elements summed, and sent, at a time: the sum stays in a cache while one neighbour after another is added."""
    inside: int = 128 * 1024
    """Bytes: a row up to this size travels inside the letter; above, packing costs more than messages of its own."""
    ahead: int = 16
    """Chunks of a row that its sender keeps under way, so that a receiver held up by the system finds them there."""
    far: int = 3
    """Chunks of a row from another node that its receiver has room for: one that is summed, and others that arrive."""
    near: int = 1
    """The same on one node, where the receiver itself copies: more would not arrive sooner, but leave its cache."""


ON_CPU = Sizes()
ON_GPU = Sizes(chunk=2**20, ahead=4)
"""Chunks long enough for the cost of a kernel's launch, and few of them, since pinned memory is dear."""


def exchange_bytes(
    plans: Iterable[Plan],
    agents: int,
    parameters: int,
    dtype: torch.dtype,
    wire: torch.dtype,
    sizes: Sizes,
    sharing: frozenset[int] = frozenset(),
    near: frozenset[int] = frozenset(),
    blocks: int = 2,
) -> int:
    """Bytes on a CPU rank with so many agents that meets these plans, letters left out where they hold no rows.

    `sharing`: ranks whose memory it reads. `near`: ranks of its node, `sharing` or not.
    """
    # Here, because settings need the lengths above and must not bring torch.
    from mpidl.rows import room

    chunk = min(sizes.chunk, parameters)
    chunks = -(-parameters // chunk)
    row = parameters * wire.itemsize
    inside, rounded = row <= sizes.inside, wire != dtype
    letters = arriving = leaving = 0
    for plan in plans:
        receives, sends = (
            [link for link in links if link.rank not in sharing] for links in (plan.receives, plan.sends)
        )
        if inside:
            letters += sum(HEADER_BYTES + len(link.agents) * row for link in (*receives, *sends))
            continue
        rings = sum(len(link.agents) * min(chunks, _ring(link, near, sizes)) for link in receives)
        arriving = max(arriving, rings * chunk * wire.itemsize)
        if rounded:
            rows = len({agent for link in sends for agent in link.agents})
            leaving = max(leaving, rows * min(sizes.ahead, chunks) * chunk * wire.itemsize)
    scratch = chunk * (dtype.itemsize + wire.itemsize) if rounded else 0
    return room(blocks * agents, parameters, dtype) + letters + arriving + leaving + scratch


def _ring(link: Link, near: frozenset[int], sizes: Sizes) -> int:
    return sizes.near if link.rank in near else sizes.far
