"""Compressed gossip without a memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mpidl.comm.gossip.schemes.packed import Packing, RowsOfAgents

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.comm.gossip.schemes.base import Ground
    from mpidl.comm.gossip.schemes.packed import Term


class Direct(Packing):
    """z_i + γ (Σ_j w_ij C(z_j) − C(z_i)), the naive baseline: what compression loses is lost.

    With randomk and `common: true` it averages a random part of the rows in each round.
    """

    outlives = True

    def exchange(self, ground: Ground, name: str, blocks: int = 2, readable: bool = False) -> DirectExchange:
        return DirectExchange(ground, name, self.gamma, blocks, readable)


class DirectExchange(RowsOfAgents):
    """The rows themselves are packed; neighbours know C(z_j) of a row."""

    def message(self, place: int, z: Tensor, out: Tensor) -> Tensor:
        return z

    def mixed(self, place: int, z: Tensor, own: Term, neighbours: Iterable[Term]) -> None:
        own.add(z, self.gamma * (own.weight - 1))
        for term in neighbours:
            term.add(z, self.gamma * term.weight)
