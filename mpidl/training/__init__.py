"""The loop and what is hooked into it; nothing here knows any one algorithm."""

from mpidl.registry import Registry

SCHEDULES = Registry("schedule")
SCHEDULES.add("constant", "mpidl.training.schedule:Constant")
SCHEDULES.add("step", "mpidl.training.schedule:Step")
SCHEDULES.add("cosine", "mpidl.training.schedule:Cosine")
SCHEDULES.add("linear", "mpidl.training.schedule:Linear")
