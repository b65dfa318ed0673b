"""Exact gossip: the rows themselves travel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from mpidl.comm.gossip.schemes.base import Scheme

if TYPE_CHECKING:
    from mpidl.comm.gossip.schemes.base import Exchange, Ground


class Exact(Scheme):
    """Z + γ(WZ − Z), uncompressed.

    On a wire narrower than the rows it is Z + γ(Wc − c), where c are the rounded rows, own and local ones included:
    the mean over agents is kept, and the numbers do not depend on which neighbours share a rank.
    """

    outlives = True

    name: str = "exact"
    gamma: float = Field(1.0, gt=0, le=1, description="consensus step γ")

    def exchange(self, ground: Ground, name: str, blocks: int = 2, readable: bool = False) -> Exchange:
        return ground.rows(name, self.gamma, blocks, readable)
