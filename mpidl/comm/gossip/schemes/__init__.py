"""What `mix` does with the rows: the gossip schemes. Register one by adding a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.registry import Registry

if TYPE_CHECKING:
    from mpidl.comm.gossip.schemes.base import Scheme

SCHEMES: Registry[Scheme] = Registry("gossip scheme", "mpidl.comm.gossip.schemes.base:Scheme")

SCHEMES.add("exact", "mpidl.comm.gossip.schemes.exact:Exact")
