"""How rows are cut for their way, which decides speed and memory and never results, and the memory that it takes.

What an exchange of whole rows takes on a rank, by a formula; the tests hold it against what is allocated:

    blocks, each row up to where the next may begin      b k ⌈P s⌉
    arriving rows, in rings of chunks                    r min(ring, chunks) C w    (twice where a GPU needs staging)
        or whole, where they are read by themselves      r P w
    leaving rows, only where they must be rounded        l min(ahead, chunks) C w
    letters, each with a header and rows up to `inside`  Σ (64 + rows P w)
    rounding while summing, only on a narrower wire      C (s + w), small rows: k D (s + w)
    gathering, only small rows that are not rounded      min(k D, 65536) s    (0 where k is 1)

b blocks, two or three; k agents of P parameters of s bytes, ⌈ ⌉ to a multiple of 64, w bytes each on the wire, C
elements per chunk, or k D where small rows of k agents are summed at once; r and l count rows that come and go by
messages, each once per rank; rings from other nodes are counted as long as they may become. With shared memory r = l =
0, and with large rows that travel as they are nothing of a row's size is kept but the blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from mpidl.comm.gossip.plan import Link, Plan


HEADER_BYTES = 64
"""Bytes in front of every letter between two ranks."""

GATHERED = 2**16
"""Elements of small rows that are gathered at a time, where they do not lie side by side: they stay in a cache."""


PARCEL_BLOCKS = 2
"""Blocks that rows leave from which are carried whole: one that neighbours read, and one that is written meanwhile."""


@dataclass(frozen=True)
class Cargo:
    """What an exchange carries: rows of one length and dtype, as they are on the wire."""

    length: int
    dtype: torch.dtype
    meaning: str = ""
    """What the numbers are, where that is more than a row rounded to `dtype`."""
    whole: bool = False
    """Whether an arriving row is kept until the turn after, rather than summed chunk by chunk."""

    @cached_property
    def row_bytes(self) -> int:
        return self.length * self.dtype.itemsize

    @cached_property
    def digest(self) -> bytes:
        """Eight bytes that tell this meaning from others."""
        return hashlib.blake2b(self.meaning.encode(), digest_size=8).digest()


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
    """Chunks of a row from another node that its receiver has room for at first: one that is summed, others arrive."""
    farthest: int = 16
    """The most that it makes room for where the link is long or slow to answer; see `pace`. More than `ahead` are never
    under way."""
    near: int = 1
    """The same on one node, where the receiver itself copies: more would not arrive sooner, but leave its cache."""

    def chunk_of(self, cargo: Cargo) -> int:
        """Elements of a row at a time; of packed rows about as many bytes as of others."""
        return self.chunk if cargo.dtype.is_floating_point else 4 * self.chunk

    @property
    def most(self) -> int:
        """Chunks of a row from another node that a receiver has room for at the most."""
        return max(self.far, min(self.farthest, self.ahead))

    def at_once(self, rows: int, length: int) -> int:
        """How many elements of each of so many rows are summed at a time."""
        return max(1, min(length, max(64, self.chunk // max(1, rows) // 64 * 64)))


ON_CPU = Sizes()
ON_GPU = Sizes(chunk=2**20, ahead=4)
"""Chunks long enough for the cost of a kernel's launch, and few of them, since pinned memory is dear."""


def exchange_bytes(
    plans: Iterable[Plan],
    agents: int,
    dtype: torch.dtype,
    cargo: Cargo,
    sizes: Sizes,
    sharing: frozenset[int] = frozenset(),
    near: frozenset[int] = frozenset(),
    blocks: int = 2,
) -> int:
    """Bytes of a row exchange on a CPU rank with so many agents that meets these plans.

    `sharing`: ranks whose memory it reads. `near`: ranks of its node, `sharing` or not.
    """
    # Here, because settings need the lengths above and must not bring torch.
    from mpidl.rows import room

    rounded = cargo.dtype != dtype
    scratch = scratch_elements(agents if cargo.row_bytes <= sizes.inside else 1, cargo.length, rounded, sizes)
    summing = scratch * (dtype.itemsize + rounded * cargo.dtype.itemsize)
    transit = transit_bytes(plans, cargo, sizes, rounded, sharing, near)
    return room(blocks * agents, cargo.length, dtype) + transit + summing


def scratch_elements(rows: int, length: int, rounded: bool, sizes: Sizes) -> int:
    """Elements that so many rows are rounded in, or gathered, while they are summed at once."""
    elements = rows * sizes.at_once(rows, length)
    return elements if rounded else min(elements, GATHERED) if rows > 1 else 0


def parcels_bytes(
    plans: Iterable[Plan],
    rows: int,
    cargo: Cargo,
    sizes: Sizes,
    sharing: frozenset[int] = frozenset(),
    near: frozenset[int] = frozenset(),
) -> int:
    """Bytes of parcels on a CPU rank from which at most so many rows leave in a turn."""
    from mpidl.rows import room

    return room(PARCEL_BLOCKS * rows, cargo.length, cargo.dtype) + transit_bytes(
        plans, cargo, sizes, False, sharing, near
    )


def transit_bytes(
    plans: Iterable[Plan],
    cargo: Cargo,
    sizes: Sizes,
    rounded: bool,
    sharing: frozenset[int],
    near: frozenset[int],
) -> int:
    """Bytes of rows on their way by messages, those that are `rounded` as they leave among them.

    Letters are left out where they hold no rows.
    """
    chunk = min(sizes.chunk_of(cargo), cargo.length)
    chunks = -(-cargo.length // chunk) if chunk else 0
    inside = cargo.row_bytes <= sizes.inside
    letters = arriving = leaving = 0
    for plan in plans:
        receives, sends = (
            [link for link in links if link.rank not in sharing] for links in (plan.receives, plan.sends)
        )
        if inside:
            letters += sum(HEADER_BYTES + len(link.items) * cargo.row_bytes for link in (*receives, *sends))
            continue
        if cargo.whole:
            arriving = max(arriving, sum(len(link.items) for link in receives) * cargo.row_bytes)
        else:
            rings = sum(len(link.items) * min(chunks, _ring(link, near, sizes)) for link in receives)
            arriving = max(arriving, rings * chunk * cargo.dtype.itemsize)
        if rounded:
            rows = len({item for link in sends for item in link.items})
            leaving = max(leaving, rows * min(sizes.ahead, chunks) * chunk * cargo.dtype.itemsize)
    return letters + arriving + leaving


def _ring(link: Link, near: frozenset[int], sizes: Sizes) -> int:
    return sizes.near if link.rank in near else sizes.most
