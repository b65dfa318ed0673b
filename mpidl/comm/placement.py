"""Which rank each agent belongs to. Plain numbers: no MPI here, so that a plan can be made before MPI starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mpidl.errors import ConfigError


@dataclass(frozen=True)
class Placement:
    """The rank that every agent belongs to; those of one rank need not be neighbours.

    `owners`: of all agents that are there, in their order. `gone`: those that are not, ascending, since they died with
    their rank; the others keep their numbers.
    """

    owners: tuple[int, ...]
    ranks: int
    gone: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if any(not 0 <= owner < self.ranks for owner in self.owners):
            raise ValueError(f"an owner in {self.owners} is not one of {self.ranks} ranks")

    @classmethod
    def contiguous(cls, agents: int, ranks: int, gone: tuple[int, ...] = ()) -> Placement:
        """Agents in order over the ranks, in shares that differ by at most one, the larger ones first.

        `gone` are those of them that are not dealt out.
        """
        agents -= len(gone)
        if agents < ranks:
            raise ConfigError(
                f"{agents} agent{'s' * (agents != 1)} cannot fill {ranks} ranks, each of which runs at least one; "
                f"start {agents}{' or fewer' * (agents > 1)}",
                "agents",
            )
        share, larger = divmod(agents, ranks)
        return cls(tuple(rank for rank in range(ranks) for _ in range(share + (rank < larger))), ranks, gone)

    def left_to(self, ranks: Sequence[int]) -> Placement:
        """That of these ranks alone, numbered anew: each keeps its agents, and those of all others are gone."""
        numbers = {rank: number for number, rank in enumerate(ranks)}
        lost = [agent for agent, owner in zip(self.everyone, self.owners, strict=True) if owner not in numbers]
        owners = tuple(numbers[owner] for owner in self.owners if owner in numbers)
        return Placement(owners, len(ranks), tuple(sorted((*self.gone, *lost))))

    @property
    def agents(self) -> int:
        """The number of agents, those that are gone among them."""
        return len(self.owners) + len(self.gone)

    @cached_property
    def everyone(self) -> tuple[int, ...]:
        """All agents that are there, ascending."""
        return tuple(sorted(set(range(self.agents)) - set(self.gone)))

    @cached_property
    def _owner(self) -> dict[int, int]:
        return dict(zip(self.everyone, self.owners, strict=True))

    @cached_property
    def _by_rank(self) -> tuple[tuple[int, ...], ...]:
        shares: list[list[int]] = [[] for _ in range(self.ranks)]
        for agent, owner in self._owner.items():
            shares[owner].append(agent)
        return tuple(map(tuple, shares))

    def of_rank(self, rank: int) -> tuple[int, ...]:
        """The agents of this rank, ascending."""
        return self._by_rank[rank]

    def owner(self, agent: int) -> int:
        """The rank that this agent belongs to; in a round another may run it."""
        return self._owner[agent]
