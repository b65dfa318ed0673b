"""Classes divided among agents by Dirichlet proportions, one draw per class."""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from mpidl.data.splits.base import Pool, Split, Warn, cut, listed
from mpidl.errors import ConfigError

_GROUP = 10
_DRAWS = 20_000_000
_MOST_ATTEMPTS = 65_536


class DirichletClass(Split):
    """Each class in proportions ~ Dir(α) over agents: small α, few classes per agent [Lin et al. 2021, official code].

    Examples are shuffled and divided among groups of at most 10 agents. Inside a group, class after class is divided
    by p ~ Dir(α, …, α), where agents that already hold their mean share get nothing; the whole draw is repeated until
    every agent of the group holds at least half the mean. Then all groups' lists, one agent's after another's and
    classes in order, are cut again into equal sizes, unless `equal` is false.

    Decided here: p is drawn over the agents that are not full, which is what the routine's p, zeroed and rescaled,
    amounts to (a sub-vector of a Dirichlet vector, rescaled, is Dirichlet), but cannot end in 0/0; and the number of
    repetitions is bounded, the most even draw being kept, with a warning, where none would do.
    """

    alpha: float = Field(description="α of the Dirichlet distribution; small is uneven", gt=0, le=1e6)
    equal: bool = Field(True, description="cut the shares to equal sizes at the end")

    @model_validator(mode="after")
    def _sizes_have_one_master(self) -> DirichletClass:
        if self.lognormal and not self.equal:
            raise ConfigError("log-normal sizes need equal: true; equal: false lets α decide the sizes", "lognormal")
        return self

    def deal(self, pool: Pool, sizes: np.ndarray, rng: np.random.Generator, warn: Warn) -> list[np.ndarray]:
        agents = len(sizes)
        order = rng.permutation(pool.size)
        labels = pool.labels
        starts = np.arange(0, agents, _GROUP)
        bounds = [*(starts * pool.size // agents), pool.size]
        shares: list[np.ndarray] = []
        uneven: list[int] = []
        for group, start in enumerate(starts):
            members = min(_GROUP, agents - int(start))
            part = order[bounds[group] : bounds[group + 1]]
            of_class = [part[labels[part] == label] for label in np.unique(labels)]
            counts, even = self._counts([len(items) for items in of_class], members, len(starts), rng)
            if not even:
                uneven.extend(range(int(start), int(start) + members))
            pieces = [cut(items, row) for items, row in zip(of_class, counts, strict=True)]
            shares.extend(np.concatenate([piece[member] for piece in pieces]) for member in range(members))
        if uneven:
            warn(
                f"no draw with alpha {self.alpha:g} gave each of {listed(np.array(uneven), 'agents')} half the mean "
                "number of examples; the most even draw was kept"
            )
        return cut(np.concatenate(shares), sizes) if self.equal else shares

    def _counts(
        self, class_sizes: list[int], members: int, groups: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, bool]:
        """Examples `[class, member]` of the first draw that gives all members half the mean, or of the most even."""
        allowed = _DRAWS // (groups * max(1, len(class_sizes)) * members)
        allowed = min(max(allowed, 64), _MOST_ATTEMPTS)
        enough = int(0.5 * sum(class_sizes) / members)
        best, most_even, width = np.empty(0), -1, 8
        while allowed > 0:
            counts = self._attempts(class_sizes, members, min(width, allowed), rng)
            least = counts.sum(axis=1).min(axis=1)
            good = np.flatnonzero(least >= enough)
            if len(good):
                return counts[good[0]], True
            if least.max() > most_even:
                best, most_even = counts[least.argmax()], int(least.max())
            allowed -= width
            width = min(2 * width, 1024)
        return best, False

    def _attempts(self, class_sizes: list[int], members: int, attempts: int, rng: np.random.Generator) -> np.ndarray:
        """Several draws at once: examples `[attempt, class, member]`."""
        counts = np.zeros((attempts, len(class_sizes), members), dtype=np.int64)
        held = np.zeros((attempts, members), dtype=np.int64)
        full = sum(class_sizes) / members
        place = np.arange(members)
        for index, size in enumerate(class_sizes):
            open_ = held < full
            proportions = log_dirichlet_weights(self.alpha, (attempts, members), rng)
            proportions[~open_] = -np.inf
            proportions = np.exp(proportions - proportions.max(axis=1, keepdims=True, initial=-1e300))
            with np.errstate(invalid="ignore"):
                shares = np.cumsum(proportions, axis=1) / proportions.sum(axis=1, keepdims=True)
            ends = np.floor(np.nan_to_num(shares) * size).astype(np.int64)
            # Rounding must not hand the last example to an agent that is full.
            last_open = members - 1 - np.argmax(open_[:, ::-1], axis=1)
            ends[place >= last_open[:, None]] = size
            counts[:, index] = np.diff(ends, axis=1, prepend=0)
            held += counts[:, index]
        return counts


def log_dirichlet_weights(alpha: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Logarithms of Gamma(α, 1) variables, which make a Dirichlet vector once rescaled.

    Γ(α) = Γ(α + 1)·U^(1/α) [Marsaglia and Tsang 2000] in logarithms, where a tiny α does not underflow.
    """
    # 1 − U lies in (0, 1], so that its logarithm is finite.
    return np.log(rng.standard_gamma(alpha + 1, shape)) + np.log1p(-rng.random(shape)) / alpha
