"""The loop and what is hooked into it; nothing here knows any one algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.registry import Registry, lazy_attributes

if TYPE_CHECKING:
    from mpidl.training.schedule import Schedule
else:
    __getattr__ = lazy_attributes(__name__, Schedule="mpidl.training.schedule")

__all__ = ["SCHEDULES", "Schedule"]

SCHEDULES: Registry[Schedule] = Registry("schedule", "mpidl.training.schedule:Schedule")
SCHEDULES.add("constant", "mpidl.training.schedule:Constant")
SCHEDULES.add("step", "mpidl.training.schedule:Step")
SCHEDULES.add("cosine", "mpidl.training.schedule:Cosine")
SCHEDULES.add("linear", "mpidl.training.schedule:Linear")
