"""Graphs: who exchanges with whom, with which weights, at round t. Each is registered by one line below."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mpidl.registry import Registry, lazy_attributes

if TYPE_CHECKING:
    from mpidl.graphs.base import Drawn, Graph, Mixing, Periodic, Topology
    from mpidl.graphs.weights import Undirected
else:
    __getattr__ = lazy_attributes(
        __name__,
        Drawn="mpidl.graphs.base",
        Graph="mpidl.graphs.base",
        Mixing="mpidl.graphs.base",
        Periodic="mpidl.graphs.base",
        Topology="mpidl.graphs.base",
        Undirected="mpidl.graphs.weights",
    )

__all__ = ["GRAPHS", "Drawn", "Graph", "Mixing", "Periodic", "Topology", "Undirected"]


def _adapt(function: Callable[..., Any]) -> type[Graph]:
    from mpidl.graphs.given import part_of

    return part_of(function)


GRAPHS: Registry[Graph] = Registry("graph", "mpidl.graphs.base:Graph", _adapt)
GRAPHS.add("ring", "mpidl.graphs.simple:Ring")
GRAPHS.add("chain", "mpidl.graphs.simple:Chain")
GRAPHS.add("star", "mpidl.graphs.simple:Star")
GRAPHS.add("complete", "mpidl.graphs.simple:Complete")
GRAPHS.add("grid", "mpidl.graphs.lattices:Grid")
GRAPHS.add("torus", "mpidl.graphs.lattices:Torus")
GRAPHS.add("hypercube", "mpidl.graphs.lattices:Hypercube")
GRAPHS.add("binary-tree", "mpidl.graphs.lattices:BinaryTree")
GRAPHS.add("petersen", "mpidl.graphs.named:Petersen")
GRAPHS.add("dyck", "mpidl.graphs.named:Dyck")
GRAPHS.add("erdos-renyi", "mpidl.graphs.drawn:ErdosRenyi")
GRAPHS.add("random-regular", "mpidl.graphs.drawn:RandomRegular")
GRAPHS.add("small-world", "mpidl.graphs.drawn:SmallWorld")
GRAPHS.add("file", "mpidl.graphs.file:File")
GRAPHS.add("networkx", "mpidl.graphs.given:Networkx")
GRAPHS.add("directed-ring", "mpidl.graphs.directed:DirectedRing")
GRAPHS.add("exponential", "mpidl.graphs.directed:Exponential")
GRAPHS.add("one-peer-exponential", "mpidl.graphs.directed:OnePeerExponential")
GRAPHS.add("one-peer-matching", "mpidl.graphs.peers:OnePeerMatching")
GRAPHS.add("base-k", "mpidl.graphs.base_k:BaseK")
GRAPHS.add("alternating", "mpidl.graphs.combined:Alternating")
GRAPHS.add("relabel", "mpidl.graphs.combined:Relabel")
