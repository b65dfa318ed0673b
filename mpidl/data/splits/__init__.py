"""Ways to divide the training examples among agents."""

from mpidl.registry import Registry

SPLITS = Registry("split")

SPLITS.add("iid", "mpidl.data.splits.iid:Iid")
SPLITS.add("dirichlet-class", "mpidl.data.splits.dirichlet_class:DirichletClass")
SPLITS.add("dirichlet-agent", "mpidl.data.splits.dirichlet_agent:DirichletAgent")
SPLITS.add("shards", "mpidl.data.splits.shards:Shards")
SPLITS.add("one-class", "mpidl.data.splits.one_class:OneClass")
SPLITS.add("main-class", "mpidl.data.splits.main_class:MainClass")
SPLITS.add("given", "mpidl.data.splits.given:Given")
