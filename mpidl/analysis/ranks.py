"""Ranks that share the terms of sums: what one process alone computes, on many, with the same bits."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from mpidl.comm.reduce import Reducer
from mpidl.comm.world import World


class SharingRanks:
    """The ranks of a world as workers."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.rank, self.size = world.rank, world.size
        self._reducers: dict[int, Reducer] = {}

    def sum(self, values: np.ndarray) -> np.ndarray:
        return self._world.sum(values)

    def sum_rows(self, terms: Iterable[tuple[int, Tensor]], owners: list[int], size: int) -> Tensor:
        if size not in self._reducers:
            self._reducers[size] = Reducer(self._world, size, torch.float64)
        return self._reducers[size].sum(terms, len(owners), owners)
