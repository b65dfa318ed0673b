"""Ways to divide the training examples among agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.registry import Registry, lazy_attributes

if TYPE_CHECKING:
    from mpidl.data.splits.base import Split
else:
    __getattr__ = lazy_attributes(__name__, Split="mpidl.data.splits.base")

__all__ = ["SPLITS", "Split"]

SPLITS: Registry[Split] = Registry("split", "mpidl.data.splits.base:Split")

SPLITS.add("iid", "mpidl.data.splits.iid:Iid")
SPLITS.add("dirichlet-class", "mpidl.data.splits.dirichlet_class:DirichletClass")
SPLITS.add("dirichlet-agent", "mpidl.data.splits.dirichlet_agent:DirichletAgent")
SPLITS.add("shards", "mpidl.data.splits.shards:Shards")
SPLITS.add("one-class", "mpidl.data.splits.one_class:OneClass")
SPLITS.add("main-class", "mpidl.data.splits.main_class:MainClass")
SPLITS.add("given", "mpidl.data.splits.given:Given")
