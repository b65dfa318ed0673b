"""What `mix` does with the rows: the gossip schemes. Register one by adding a line here."""

from __future__ import annotations

from mpidl.registry import Registry

SCHEMES = Registry("gossip scheme")

SCHEMES.add("exact", "mpidl.comm.gossip.schemes.exact:Exact")
