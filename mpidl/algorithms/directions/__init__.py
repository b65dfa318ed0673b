"""Directions: what a step along a gradient becomes. Each is registered by one line below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidl.registry import Registry, lazy_attributes

if TYPE_CHECKING:
    from mpidl.algorithms.directions.base import Direction
else:
    __getattr__ = lazy_attributes(__name__, Direction="mpidl.algorithms.directions.base")

__all__ = ["DIRECTIONS", "Direction"]

DIRECTIONS: Registry[Direction] = Registry("direction", "mpidl.algorithms.directions.base:Direction")
DIRECTIONS.add("sgd", "mpidl.algorithms.directions.momentum:SGD")
DIRECTIONS.add("nesterov", "mpidl.algorithms.directions.momentum:Nesterov")
DIRECTIONS.add("adam", "mpidl.algorithms.directions.adaptive:Adam")
DIRECTIONS.add("adamw", "mpidl.algorithms.directions.adaptive:AdamW")
DIRECTIONS.add("lars", "mpidl.algorithms.directions.layerwise:LARS")
DIRECTIONS.add("lamb", "mpidl.algorithms.directions.layerwise:LAMB")
