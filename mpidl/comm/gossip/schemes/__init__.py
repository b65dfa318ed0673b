"""What `mix` does with the rows: the gossip schemes. Register one by adding a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.registry import Registry, lazy_attributes

if TYPE_CHECKING:
    from mpidl.comm.gossip.schemes.base import Exchange, Scheme
    from mpidl.comm.gossip.schemes.packed import Packing, RowsOfAgents
else:
    __getattr__ = lazy_attributes(
        __name__,
        Exchange="mpidl.comm.gossip.schemes.base",
        Packing="mpidl.comm.gossip.schemes.packed",
        RowsOfAgents="mpidl.comm.gossip.schemes.packed",
        Scheme="mpidl.comm.gossip.schemes.base",
    )

__all__ = ["SCHEMES", "Exchange", "Packing", "RowsOfAgents", "Scheme"]

SCHEMES: Registry[Scheme] = Registry("gossip scheme", "mpidl.comm.gossip.schemes.base:Scheme")

SCHEMES.add("choco", "mpidl.comm.gossip.schemes.choco:Choco")
SCHEMES.add("deepsqueeze", "mpidl.comm.gossip.schemes.deepsqueeze:DeepSqueeze")
SCHEMES.add("direct", "mpidl.comm.gossip.schemes.direct:Direct")
SCHEMES.add("exact", "mpidl.comm.gossip.schemes.exact:Exact")
