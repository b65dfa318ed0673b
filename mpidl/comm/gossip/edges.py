"""Something else for every neighbour: a row of parameters for each directed edge, as algorithms exchange them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mpidl.rows import new_rows

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mpidl.comm.gossip.plan import Edge
    from mpidl.comm.gossip.schemes.base import Carrier


class EdgeRows:
    """Rows [P] in their own dtype, carried in that of the wire: a lossy wire rounds those of this rank as well."""

    def __init__(self, carrier: Carrier[Edge], parameters: int, wire: torch.dtype, dtype: torch.dtype) -> None:
        self._carrier, self._parameters, self._dtype = carrier, parameters, dtype
        self._lossy = wire != dtype
        self._wide: dict[Edge, Tensor] = {}

    def outgoing(self, t: int) -> Mapping[Edge, Tensor]:
        """Memory for the row of each edge of round t that begins here; all of it is to be written."""
        rows = self._carrier.outgoing(t)
        if not self._lossy:
            return rows
        if self._wide.keys() != rows.keys():
            device = next(iter(rows.values())).device if rows else "cpu"
            self._wide = dict(zip(rows, new_rows((len(rows), self._parameters), self._dtype, device), strict=True))
        return self._wide

    def swap(self, t: int) -> Mapping[Edge, Tensor]:
        """Gives them away; the row of each edge that ends here, until the next `outgoing`."""
        if self._lossy:
            for edge, row in self._carrier.outgoing(t).items():
                row.copy_(self._wide[edge])
        self._carrier.start(t)
        rows = self._carrier.finish()
        return {edge: row.to(self._dtype) for edge, row in rows.items()} if self._lossy else rows
