"""How rows are cut for their way: lengths that decide speed and memory, never results."""

from __future__ import annotations

from dataclasses import dataclass


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
