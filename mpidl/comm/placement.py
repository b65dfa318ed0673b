"""Which rank each agent belongs to. Plain numbers: no MPI here, so that a plan can be made before MPI starts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mpidl.errors import ConfigError


@dataclass(frozen=True)
class Placement:
    """The rank that every agent belongs to; those of one rank need not be neighbours."""

    owners: tuple[int, ...]
    ranks: int

    def __post_init__(self) -> None:
        if any(not 0 <= owner < self.ranks for owner in self.owners):
            raise ValueError(f"an owner in {self.owners} is not one of {self.ranks} ranks")

    @classmethod
    def contiguous(cls, agents: int, ranks: int) -> Placement:
        """Agents in order over the ranks, in shares that differ by at most one, the larger ones first."""
        if agents < ranks:
            raise ConfigError(
                f"{agents} agent{'s' * (agents != 1)} cannot fill {ranks} ranks, each of which runs at least one; "
                f"start {agents}{' or fewer' * (agents > 1)}",
                "agents",
            )
        share, larger = divmod(agents, ranks)
        return cls(tuple(rank for rank in range(ranks) for _ in range(share + (rank < larger))), ranks)

    @property
    def agents(self) -> int:
        return len(self.owners)

    @cached_property
    def _by_rank(self) -> tuple[tuple[int, ...], ...]:
        shares: list[list[int]] = [[] for _ in range(self.ranks)]
        for agent, owner in enumerate(self.owners):
            shares[owner].append(agent)
        return tuple(map(tuple, shares))

    def of_rank(self, rank: int) -> tuple[int, ...]:
        """The agents of this rank, ascending."""
        return self._by_rank[rank]

    def owner(self, agent: int) -> int:
        """The rank that this agent belongs to; in a round another may run it."""
        return self.owners[agent]
