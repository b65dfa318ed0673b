"""What the directions of agents' local steps remember: of each agent from round to round, or from zero in each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from mpidl.state import State


class Memories:
    """Rows that a direction remembers of each agent, by name, and how many steps they have seen."""

    def __init__(self, names: Iterable[str], keep: bool, state: State, together: int) -> None:
        """`keep`: they stay with the agent; else they serve `together` agents at a time, and are cleared before."""
        self._kept = {name: state.lazy_rows(f"local {name}") for name in names} if keep else {}
        self._fresh = {} if keep else {name: state.scratch(together, state.parameters) for name in names}
        self._taken = state.counts("local steps taken", state.total) if self._kept else None
        """By agent, the steps that its kept memory has seen; known to all ranks."""

    def clear(self) -> None:
        """Before other agents work: what is not kept begins at zero."""
        for block in self._fresh.values():
            block.zero_()

    def of(self, agent: int, place: int) -> dict[str, Tensor]:
        """Those of an agent, which is the one at this place of those that work together."""
        kept = {name: items[agent] for name, items in self._kept.items()}
        return kept or {name: block[place] for name, block in self._fresh.items()}

    def steps_before(self, agent: int) -> int:
        """Steps that the agent's kept memory has seen."""
        return 0 if self._taken is None else int(self._taken[agent])

    def count(self, agent: int, steps: int) -> None:
        """Say on every rank that an agent has taken so many more."""
        if self._taken is not None:
            self._taken[agent] += steps
