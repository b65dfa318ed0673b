"""Rows of agents that last for a round: what was measured of an agent before its local work, and is needed in it.

They are memory and not state: nothing of them survives a round, so that no checkpoint has them and none is moved. A
rank keeps as many as it has agents where all ranks have equally many, and takes more in rounds in which it runs more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.state import State


class Shelf:
    """Rows by agent, in memory that is used again once they are cleared away."""

    def __init__(self, state: State, rows: int) -> None:
        """`rows` is how many are expected at once; these are counted among the memory of the run."""
        self._state = state
        self._free = list(state.scratch(rows, state.parameters))
        self._rows: dict[int, Tensor] = {}

    def clear(self) -> None:
        """Take all rows back."""
        self._free += self._rows.values()
        self._rows.clear()

    def __contains__(self, agent: object) -> bool:
        return agent in self._rows

    def __getitem__(self, agent: int) -> Tensor:
        """The agent's row; at first it holds anything."""
        if agent not in self._rows:
            self._rows[agent] = self._free.pop() if self._free else self._state.row()
        return self._rows[agent]
